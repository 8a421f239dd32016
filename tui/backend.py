"""What the screen asks of `core` and `hub`, in one place. Each function runs in a thread and imports what it needs when called,
so that starting the screen imports none of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.paths import Home

if TYPE_CHECKING:
    from ..core.catalog.entries import AdapterEntry, ModelEntry
    from ..core.devices import Device


@dataclass(frozen=True)
class Shelf:
    """Everything in the catalog at one moment."""

    models: list[ModelEntry] = field(default_factory=list)
    adapters: list[AdapterEntry] = field(default_factory=list)


def read_catalog(home: Home) -> Shelf:
    """Scan models and adapters."""
    from ..core.catalog.catalog import Catalog

    catalog = Catalog(home)
    return Shelf(catalog.models(), catalog.adapters())


def stop_run(home: Home, run_id: str, *, now: bool = False) -> str:
    """Ask a run to stop; returns its name."""
    from ..core.runs.control import stop
    from ..core.runs.store import RunStore

    run = RunStore(home).get(run_id)
    stop(run, now=now)
    return run.spec.name


def remove_run(home: Home, run_id: str) -> None:
    """Delete a run's directory; what it made stays."""
    from ..core.runs.store import RunStore

    store = RunStore(home)
    store.remove(store.get(run_id))
