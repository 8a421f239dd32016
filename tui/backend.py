"""What the screen asks of `core` and `hub`, in one place. Each function runs in a thread and imports what it needs when called,
so that starting the screen imports none of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.config import Settings
from ..core.paths import Home

if TYPE_CHECKING:
    from ..core.api import Example, Task
    from ..core.catalog.entries import AdapterEntry, ModelEntry
    from ..core.data.checking import DataReport
    from ..core.doctor import Check
    from ..core.planner.memory import Plan
    from ..core.planner.ranking import Ranked
    from .newrun import Answers


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


def method(name: str) -> tuple[Any, str]:
    """A method's plugin, or ``None`` and why it does not load."""
    from ..core import registry
    from ..core.errors import FineTUIError

    try:
        return registry.load("methods", name), ""
    except FineTUIError as problem:
        return None, problem.message


def objective_names() -> list[str]:
    """Installed objectives."""
    from ..core import registry

    return registry.names("objectives")


def task_of(home: Home, answers: Answers) -> Task:
    """The task that a run with these answers would have."""
    from ..core.catalog.catalog import Catalog
    from ..core.planner.reading import read_model
    from ..core.planner.tasks import choose_task

    if answers.task:
        return "seq-cls" if answers.task == "seq-cls" else "causal-lm"
    if not answers.model:
        return "seq-cls" if "label" in answers.columns else "causal-lm"
    return choose_task(read_model(Path(Catalog(home).model(answers.model).path)), answers.columns)


def method_choices(home: Home, answers: Answers, training: Mapping[str, Any], rows: Sequence[Example] = ()) -> list[tuple[str, str, str]]:
    """Every installed method: (name, note, reason). With a model the note has its memory and speed, and the reason, after when
    it is a good choice, what would make it fit, or why it cannot train the model. Those that fit come first."""
    from ..core import registry

    ranked = {row.method: row for row in _ranking(home, answers, training, rows)} if answers.model else {}
    entries: list[tuple[int, str, str, str]] = []
    for name in registry.names("methods"):
        plugin, problem = method(name)
        if plugin is None:
            entries.append((4, name, problem, ""))
        elif name in ranked:
            row = ranked[name]
            reason = " ".join([plugin.good_for or plugin.summary, *(f"It does not fit; {sentence}." for sentence in row.advice)])
            entries.append((0 if row.fits else 1 if row.settings else 2, name, f"{plugin.title}, {_cost(row)}", reason))
        elif answers.model:
            entries.append((3, name, _refusal(home, answers, name, training), plugin.good_for))
        else:
            entries.append((0, name, plugin.title, plugin.good_for or plugin.summary))
    for name in registry.members("methods"):  # many, and their memory is known only to a worker: priced when chosen
        plugin, problem = method(name)
        entries.append((5, name, plugin.summary if plugin else problem, plugin.good_for if plugin else ""))
    return [entry[1:] for entry in sorted(entries)]


def _cost(row: Ranked) -> str:
    from .format import human_bytes

    return f"{human_bytes(row.total_bytes)}, {'fits' if row.fits else 'does not fit'}, {row.relative_speed:.1f}x the speed of full"


def _ranking(home: Home, answers: Answers, training: Mapping[str, Any], rows: Sequence[Example]) -> list[Ranked]:
    from ..core.catalog.catalog import Catalog
    from ..core.runs.past import past_runs
    from ..core.runs.requests import devices_for, rank_on

    entry, task = Catalog(home).model(answers.model), task_of(home, answers)
    return rank_on(
        devices_for(answers.gpus)[0], entry, training, task=task, num_labels=_classes(task, rows), rows=rows, past=past_runs(home)
    )


def _refusal(home: Home, answers: Answers, name: str, training: Mapping[str, Any]) -> str:
    """Why a method cannot train the model."""
    from ..core.errors import FineTUIError

    try:
        price(home, answers, name, {}, training)
    except FineTUIError as problem:
        return problem.message
    return ""


def _classes(task: str, rows: Sequence[Example]) -> int:
    return len({row.label for row in rows}) if task == "seq-cls" and rows else 2


def price(
    home: Home,
    answers: Answers,
    method_name: str,
    method_options: Mapping[str, Any],
    training: Mapping[str, Any],
    rows: Sequence[Example] = (),
) -> tuple[Plan, str]:
    """The plan that a launch would decide by, on the first device where it fits (else on the first), and that device's name.

    Args:
        rows: examples whose lengths count; none: all are taken to be as long as allowed.
    """
    from ..core.catalog.catalog import Catalog
    from ..core.runs.past import past_runs
    from ..core.runs.requests import devices_for, plan_on

    entry, task = Catalog(home).model(answers.model), task_of(home, answers)
    classes = _classes(task, rows)
    first: tuple[Plan, str] | None = None
    past = past_runs(home)
    for device in devices_for(answers.gpus):
        plan = plan_on(device, entry, method_name, method_options, training, task=task, num_labels=classes, rows=rows, past=past)
        found = (plan, "the CPU" if device.kind == "cpu" else f"GPU {device.id}")
        if plan.fits:
            return found
        first = first or found
    assert first is not None
    return first


def read_data(home: Home, answers: Answers) -> tuple[DataReport, Sequence[Example]]:
    """What data files hold and what is wrong with them, and their first rows where nothing is."""
    from ..core.data.checking import check
    from ..core.data.shaping import examples
    from ..core.runs.requests import QUICK_ROWS, existing_files

    files, task = existing_files(answers.data), task_of(home, answers)
    report = check(files, answers.columns, task)
    if report.problem_count:
        return report, ()
    return report, examples(files, answers.columns, answers.objective, task=task, limit=QUICK_ROWS).examples


def start_training(home: Home, arguments: Mapping[str, Any], *, queue: bool = False, priority: int = 0) -> str:
    """Check, create and start (or queue) a training run; returns its id."""
    from ..core.runs.requests import start, train_request

    request = train_request(home, **arguments)
    return start(home, "train", request.name, request, queue=queue, priority=priority).id


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


def digest(home: Home, path: str) -> str:
    """sha256 over the weight files; remembered by the index."""
    from ..core.catalog.catalog import Catalog

    return Catalog(home).digest(path)


def examine(home: Home) -> list[Check]:
    """What works on this machine, what does not, and why."""
    from ..core.doctor import checks

    return checks(home)


def ask_torch() -> Check:
    """What torch itself says of the GPUs, asked in a process of its own."""
    from ..core.devices import list_devices
    from ..core.doctor import probe_torch

    return probe_torch(list_devices())
