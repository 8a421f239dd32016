"""What the screen asks of `core` and `hub`, in one place (the form of a new run: `asking`). Each function runs in a thread and imports
what it needs when called, so that starting the screen imports none of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.config import Settings
from ..core.paths import Home

if TYPE_CHECKING:
    from ..core.api import Found
    from ..core.catalog.entries import AdapterEntry, ModelEntry
    from ..core.catalog.lineage import Difference
    from ..core.doctor import Check
    from ..core.prompts import Prompt


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


def checkpoint_run(home: Home, run_id: str) -> None:
    """Ask a training run for a checkpoint."""
    from ..core.runs.control import checkpoint_now
    from ..core.runs.store import RunStore

    checkpoint_now(RunStore(home).get(run_id))


def resume_run(home: Home, run_id: str) -> None:
    """Start a new attempt inside the same run."""
    from ..core.runs.launch import resume
    from ..core.runs.store import RunStore

    resume(RunStore(home).get(run_id))


def move_in_queue(home: Home, run_id: str, where: str) -> None:
    """Move a waiting run: ``up``, ``down``, ``top``, ``bottom`` or a position."""
    from ..core.runs.queue import Queue

    Queue(home).move(run_id, where)


def toggle_queue(home: Home) -> bool:
    """Pause the queue, or let it go on; returns whether it is paused now."""
    from ..core.runs.queue import Queue

    queue = Queue(home)
    paused = queue.paused
    (queue.unpause if paused else queue.pause)()
    return not paused


def export_comparison(table: Mapping[str, Any], path: Path) -> Path:
    """Write a comparison's table in the format of the file's ending."""
    from ..core.compare.export import export

    return export(table, path)


def hub_names() -> list[str]:
    """Installed hubs."""
    from ..core import registry

    return registry.names("hubs")


def start_merge(home: Home, model: str, adapter: str, out: Path, *, verify: bool, force: bool, gpus: str) -> str:
    """Start a merge; returns the run's id. Without a known model the adapter's own base is taken."""
    from ..core.catalog.catalog import Catalog
    from ..core.runs.requests import merge_request, start

    base = model or Catalog(home).adapter(adapter).base_path
    request = merge_request(home, model=base, adapter=adapter, out=out, verify=verify, force=force, gpus=gpus)
    return start(home, "merge", f"merge-{Path(adapter).name}", request).id


def push_plan(home: Home, adapter: str, repo: str, hub: str, private: bool) -> Any:
    """What a push would send (`core.api.PushPlan`)."""
    from ..hub.transfer import plan_push

    return plan_push(home, adapter, repo, hub=hub, private=private)


def start_push(home: Home, settings: Settings, adapter: str, *, repo: str, hub: str, public: bool, pull_request: bool) -> str:
    """Start a push; returns the run's id."""
    from ..core.runs.requests import start
    from ..hub.transfer import push_request

    request = push_request(home, adapter, repo, hub=hub, private=not public, pull_request=pull_request, settings=settings)
    return start(home, "push", f"push-{repo.rsplit('/', 1)[-1]}", request).id


def start_pull(home: Home, settings: Settings, *, repo: str, hub: str, name: str) -> str:
    """Start a pull; returns the run's id."""
    from ..core.runs.requests import start
    from ..hub.transfer import pull_request

    request = pull_request(home, repo, hub=hub, name=name, settings=settings)
    return start(home, "pull", f"pull-{request.name}", request).id


def add_folder(home: Home, folder: Path) -> str:
    """Import an adapter folder or register a model folder; returns the name it has in the catalog."""
    from ..core.catalog.catalog import Catalog

    catalog = Catalog(home)
    if (folder / "adapter_config.json").is_file():
        return catalog.import_adapter(folder).name
    return catalog.add_model(folder).name


def remove_artifact(home: Home, kind: str, name: str) -> None:
    """Remove a model or an adapter from the catalog."""
    from ..core.catalog.catalog import Catalog

    catalog = Catalog(home)
    (catalog.remove_model if kind == "model" else catalog.remove_adapter)(name)


def search_hub(home: Home, settings: Settings, *, words: str, base: str, hub: str) -> list[Found]:
    """Adapters on a hub."""
    from ..hub import searching

    return searching.search_hub(home, words, base=base, hub=hub, settings=settings)


def hub_card(home: Home, settings: Settings, repo: str, hub: str) -> tuple[dict[str, Any], str]:
    """Front matter and text of a repository's card."""
    from ..hub.card import split_card
    from ..hub.searching import read_card

    return split_card(read_card(home, repo, hub=hub, settings=settings))


def tag_adapter(home: Home, path: str, add: list[str], remove: list[str]) -> None:
    """Add and remove tags of an adapter."""
    from ..core.catalog.catalog import Catalog

    Catalog(home).tag(path, add=add, remove=remove)


def differences(home: Home, first: str, second: str) -> list[Difference]:
    """Where two adapter folders differ."""
    from ..core.catalog.catalog import Catalog

    return Catalog(home).diff(first, second)


def local_card(path: str) -> tuple[dict[str, Any], str]:
    """Front matter and text of an artifact's card; nothing where it has none."""
    from ..hub.card import split_card

    file = Path(path) / "README.md"
    return split_card(file.read_text(encoding="utf-8", errors="replace")) if file.is_file() else ({}, "")


def digest(home: Home, path: str) -> str:
    """sha256 over the weight files; remembered by the index."""
    from ..core.catalog.catalog import Catalog

    return Catalog(home).digest(path)


def read_prompts(home: Home) -> list[Prompt]:
    """The prompt library."""
    from ..core.prompts import read_prompts

    return read_prompts(home)


def save_prompt(home: Home, name: str, text: str) -> None:
    """Add a prompt to the library, or replace it there."""
    from ..core.prompts import save_prompt

    save_prompt(home, name, text)


def save_case(home: Home, messages: Sequence[Mapping[str, str]], about: Mapping[str, Any]) -> Path:
    """Append a test case; returns its file."""
    from ..core.testcases import save_case

    return save_case(home, messages, **about)


def examine(home: Home) -> list[Check]:
    """What works on this machine, what does not, and why."""
    from ..core.doctor import checks

    return checks(home)


def ask_torch() -> Check:
    """What torch itself says of the GPUs, asked in a process of its own."""
    from ..core.devices import list_devices
    from ..core.doctor import probe_torch

    return probe_torch(list_devices())
