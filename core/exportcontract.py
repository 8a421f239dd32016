"""The contract of exporters: writing a model, or a model with an adapter on it, in another form. `core.api` exports it again."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class ExportSource:
    """What is exported.

    Attributes:
        model: folder of the base, or of the artifact itself where that is a whole model.
        adapter: folder of the PEFT adapter or the delta on it; none: the model alone.
        sample: to be called where much memory is in use, so that the peak is known.
    """

    model: Path
    adapter: Path | None
    sample: Callable[[], Any]


class Exporter(ABC):
    """One form that models are written in. Runs in a worker: import torch inside functions."""

    name: ClassVar[str]
    title: ClassVar[str]
    summary: ClassVar[str]
    options: ClassVar[type]
    """A dataclass of `option` fields."""

    def refusal(self, source: ExportSource, options: Any) -> str:
        """Why this cannot be exported so; empty when it can. Asked before a run starts: import no torch."""
        return ""

    @abstractmethod
    def export(self, source: ExportSource, folder: Path, options: Any, *, verify: bool) -> dict[str, Any]:
        """Write into the (existing, empty) ``folder``.

        Returns:
            What was verified, with ``passed``; empty where nothing was.

        Raises:
            FineTUIError: it cannot be written, or is not what it must be.
        """
