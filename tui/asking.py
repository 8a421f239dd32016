"""What the form of a new run asks of `core`. Each function runs in a thread and imports what it needs when called, as those of
`backend` do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..core.paths import Home

if TYPE_CHECKING:
    from ..core.api import Example, Task
    from ..core.catalog.entries import ModelEntry
    from ..core.data.checking import DataReport
    from ..core.devices import Device
    from ..core.errors import FineTUIError
    from ..core.planner.advice import Change
    from ..core.planner.memory import Plan
    from ..core.planner.ranking import Ranked
    from .answers import Answers


@dataclass(frozen=True)
class MethodRow:
    """A method, and what there is to choose it by.

    Attributes:
        good_for: when it is a good choice.
        ranked: the planner's figures; none without a model, and of what only a worker can count.
        refusal: why it cannot train the model, or does not load; empty where it can.
    """

    name: str
    title: str
    good_for: str
    ranked: Ranked | None = None
    refusal: str = ""


@dataclass(frozen=True)
class Price:
    """What one method takes on one kind of device.

    Attributes:
        title: the devices, or the method where several are compared.
        device: the first of those.
        plan: none where the method cannot train the model.
    """

    title: str
    device: Device
    plan: Plan | None = None
    problem: FineTUIError | None = None


@dataclass(frozen=True)
class Priced:
    """Every price of a form.

    Attributes:
        waits_for: what the run would wait for now; empty where it could start.
    """

    prices: list[Price]
    waits_for: str = ""

    @property
    def best(self) -> Plan | None:
        """The plan that a launch would decide by: the first that fits, else the first; of a comparison the largest."""
        plans = [price.plan for price in self.prices if price.plan]
        return next((plan for plan in plans if plan.fits), plans[0] if plans else None)


@dataclass(frozen=True)
class DataSeen:
    """What data files hold.

    Attributes:
        rows: the first ones; none where there is a problem.
        task: that they would be read for.
        why: that is so, in words.
    """

    report: DataReport
    rows: Sequence[Example]
    task: Task
    why: str


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


def task_of(home: Home, answers: Answers) -> tuple[Task, str]:
    """The task that a run with these answers would have, and why."""
    from ..core.planner.reading import read_model
    from ..core.planner.tasks import choose_task

    if answers.task:
        return ("seq-cls" if answers.task == "seq-cls" else "causal-lm"), "chosen"
    if "label" in answers.columns:
        return "seq-cls", "a column is renamed to label"
    if not answers.model:
        return "causal-lm", "unless the model is an encoder"
    spec = read_model(Path(_model(home, answers).path))
    task = choose_task(spec, answers.columns)
    return task, f"{spec.architecture} {'only classifies' if task == 'seq-cls' else 'writes text'}"


def _model(home: Home, answers: Answers) -> ModelEntry:
    from ..core.catalog.catalog import Catalog

    return Catalog(home).model(answers.model)


def _known(home: Home, answers: Answers, rows: Sequence[Example]) -> dict[str, Any]:
    """What every plan of a form shares."""
    from ..core.runs.past import past_runs

    task = task_of(home, answers)[0]
    classes = len({row.label for row in rows}) if task == "seq-cls" and rows else 2
    return {"task": task, "num_labels": classes, "rows": rows, "past": past_runs(home)}


def method_rows(home: Home, answers: Answers, rows: Sequence[Example] = ()) -> list[MethodRow]:
    """Every installed method, in the planner's order: those that fit, those that would with other settings, the others."""
    from ..core import registry
    from ..core.runs.planning import devices_for, rank_on

    ranking: list[Ranked] = []
    if answers.model:
        device = devices_for(answers.gpus)[0]
        ranking = rank_on(device, _model(home, answers), answers.training_settings(), **_known(home, answers, rows))
    ranked = {row.method: row for row in ranking}
    found: list[MethodRow] = []
    for name in [*ranked, *(name for name in registry.names("methods") if name not in ranked), *registry.members("methods")]:
        plugin, problem = method(name)
        if plugin is None:
            found.append(MethodRow(name, "", "", refusal=problem))
            continue
        listed = name in ranked or not answers.model or ":" in name  # of the many of PEFT, only a worker can say more
        refusal = "" if listed else _refusal(home, answers, name, rows)
        found.append(MethodRow(name, plugin.title, plugin.good_for or plugin.summary, ranked.get(name), refusal))
    return found


def _refusal(home: Home, answers: Answers, name: str, rows: Sequence[Example]) -> str:
    """Why a method cannot train the model, at its default options."""
    from ..core.errors import FineTUIError
    from ..core.runs.planning import devices_for, plan_on

    device = devices_for(answers.gpus)[0]
    try:
        plan_on(device, _model(home, answers), name, {}, answers.training_settings(), **_known(home, answers, rows))
    except FineTUIError as problem:
        return problem.message
    return ""


def price(home: Home, answers: Answers, rows: Sequence[Example] = ()) -> Priced:
    """What is asked for, planned as a launch plans it: one run on each kind of device that it may take, or each method of a comparison.

    Args:
        rows: examples whose lengths count; none: all are taken to be as long as allowed.
    """
    from ..core.errors import FineTUIError
    from ..core.runs.placing import waits_for, wants
    from ..core.runs.planning import devices_for, plan_on

    model, known, devices = _model(home, answers), _known(home, answers, rows), devices_for(answers.gpus)
    training = answers.training_settings()

    def plan(device: Device, name: str) -> Plan:
        return plan_on(device, model, name, answers.own_settings(name), training, **known)

    if not answers.comparing:
        prices = [Price(title, device, plan(device, answers.method)) for title, device in _kinds(devices)]
        best = Priced(prices).best
        wanted = wants(answers.gpus, best.total_bytes if best else 0, share=answers.share_gpu)
        return Priced(prices, waits_for(wanted) if best and best.fits else "")
    prices = []
    for name in answers.methods:
        try:
            plans = [(device, plan(device, name)) for _, device in _kinds(devices)]
            device, found = next(((device, found) for device, found in plans if found.fits), plans[0])
            prices.append(Price(name, device, found))
        except FineTUIError as problem:
            prices.append(Price(name, devices[0], problem=problem))
    return Priced(sorted(prices, key=lambda price: -(price.plan.total_bytes if price.plan else 0)))


def _kinds(devices: Sequence[Device]) -> list[tuple[str, Device]]:
    """One device of each kind, under a title that says which there are: a run is planned alike on those."""
    kinds: dict[tuple[str, int], list[Device]] = {}
    for device in devices:
        kinds.setdefault((device.name, device.memory_free), []).append(device)
    return [(_title(alike), alike[0]) for alike in kinds.values()]


def _title(alike: Sequence[Device]) -> str:
    if alike[0].kind == "cpu":
        return "CPU"
    return f"GPU {alike[0].id}" if len(alike) == 1 else f"{len(alike)} GPUs"


def make_it_fit(home: Home, answers: Answers, rows: Sequence[Example] = ()) -> Change | None:
    """The gentlest change of training options with which the run fits on the largest of its devices; none where none is enough."""
    from ..core.runs.planning import devices_for, fit_on

    device = max(devices_for(answers.gpus), key=lambda device: device.memory_free)
    own, training = answers.own_settings(answers.method), answers.training_settings()
    return fit_on(device, _model(home, answers), answers.method, own, training, **_known(home, answers, rows))


def read_data(home: Home, answers: Answers) -> DataSeen:
    """What data files hold and what is wrong with them, and their first rows where nothing is."""
    from ..core.data.checking import check
    from ..core.data.shaping import examples
    from ..core.runs.requests import QUICK_ROWS, existing_files

    files, (task, why) = existing_files(answers.data), task_of(home, answers)
    report = check(files, answers.columns, task)
    rows = (
        [] if report.problem_count else examples(files, answers.columns, answers.objective, task=task, limit=QUICK_ROWS).examples
    )  # fmt: skip
    return DataSeen(report, rows, task, why)


def start_training(home: Home, answers: Answers, *, queue: bool = False) -> str:
    """Check, create and start (or queue) a training run; returns its id."""
    from ..core.runs.requests import start, train_request

    request = train_request(home, **answers.arguments())
    return start(home, "train", request.name, request, queue=queue, priority=answers.priority).id


def start_comparison(home: Home, answers: Answers) -> str:
    """Check, create and start a comparison of methods; returns its id."""
    from ..core.compare.asking import compare_request
    from ..core.runs.requests import start

    name, request = compare_request(home, answers.question())
    return start(home, "compare", name, request).id
