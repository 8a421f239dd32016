"""``finetui plan``: peak memory by part, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click
import msgspec

from ..core import registry
from ..core.api import Task
from ..core.data.labels import label_names
from ..core.data.shaping import stream
from ..core.errors import UsageError
from ..core.options import parse, respelt, to_dict
from ..core.planner.advice import make_plan
from ..core.planner.ranking import Ranked, rank_methods
from ..core.planner.reading import read_model
from ..core.planner.record import Record
from ..core.planner.tasks import choose_task
from ..core.probing import probe_plan
from ..core.runs.past import past_runs
from ..core.runs.planning import devices_for
from ..core.runs.requests import existing_files, split_settings
from ..core.session import WorkerSession
from ..core.training import TrainingOptions
from .command import App, command, settings_of
from .data import TASK_HELP
from .output import details, narrate, plural, size, table, write_json

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30, "TIB": 2**40}


def parse_size(text: str) -> int:
    """``24GiB``, ``80GB`` or a number of bytes.

    Raises:
        UsageError: it is none of these.
    """
    number = text.rstrip("KMGTiBkmgtb ")
    unit = text[len(number) :].strip().upper()
    try:
        count = int(float(number) * _UNITS[unit])
    except (ValueError, KeyError, OverflowError):
        count = 0
    if count <= 0:
        raise UsageError(f"'{text}' is not a size", "for example 24GiB or 80GB")
    return count


@command("plan")
@click.option("--model", required=True, help="Base model; a folder with only config.json will do.")
@click.option("--method", default="", help="Default: every method, ranked.")
@click.option("--data", multiple=True, metavar="FILE", help="Plan with the token lengths of this data.")
@click.option("--memory", default="", help="Memory of the device, for example 24GiB; default: what this machine has.")
@click.option("--task", type=click.Choice(get_args(Task)), default=None, help=TASK_HELP)
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Training and method options, as for train.")
@click.option("--gpus", default=None, help="auto, none, or indices or UUIDs.")
@click.option("--probe", is_flag=True, help="Also train the longest micro-batch for real, and say what it takes.")
def plan(
    app: App, model: str, method: str, data: tuple[str, ...], memory: str, task: Task | None, settings: tuple[str, ...], gpus: str | None,
    probe: bool,
) -> None:  # fmt: skip
    """Peak memory by part, what fits, and what would."""
    if probe and not method:
        raise UsageError("--probe tries one method", "name it with --method")
    folder = Path(app.catalog.model(model).path)
    wanted = settings_of(settings)
    task = task or choose_task(read_model(folder))
    known: dict[str, Any] = {"task": task, "memory_bytes": parse_size(memory) if memory else None}
    known |= _of_data(app, model, data, task, wanted)
    known["past"] = past_runs(app.home)
    if not memory:
        known["device"] = devices_for(gpus or app.settings.gpus)[0]
    if not method:
        return _show_ranking(app, rank_methods(folder, _loop_settings(wanted), **known))
    training, own = split_settings(registry.load("methods", method), wanted)
    found = make_plan(folder, method, own, training, **known)
    row = msgspec.to_builtins(found)
    if probe:
        sizes = {name: known[name] for name in ("task", "num_labels", "lengths", "loss_lengths") if name in known}
        narrate("training the longest micro-batch")
        row["probe"] = probe_plan(found, folder, own, training, log=app.home.log, gpus=gpus or app.settings.gpus, **sizes)
    if app.json:
        return write_json(row)
    parts = {name: size(count) for name, count in found.parts.items() if count}
    details({**row, "total_bytes": size(found.total_bytes), "parts": parts, "advice": None, "record": None, "probe": None})
    if probe:
        _show_probe(row["probe"])
    _show_record(found.record)
    for sentence in row["advice"]:
        click.echo(f"- {sentence}")


def _loop_settings(wanted: dict[str, Any]) -> dict[str, Any]:
    try:
        return to_dict(parse(TrainingOptions, wanted, owner="training"), changed_only=True)
    except UsageError as problem:
        raise UsageError(problem.message, problem.hint or "options of a method need --method") from None


def _of_data(app: App, model: str, data: tuple[str, ...], task: Task, wanted: dict[str, Any]) -> dict[str, Any]:
    """Token lengths of the rows, counted by a worker, and of what carries loss, and how many classes there are; nothing without data."""
    if not data:
        return {}
    files = existing_files(data)
    relevant = {key: value for key, value in respelt(TrainingOptions, wanted).items() if key in ("max_length", "loss_on", "system_prompt")}
    with WorkerSession(app.home.log, gpus="none") as session:
        found = session.call("lengths", model_path=app.catalog.model(model).path, data=files, task=task, settings=relevant)
    classes = {"num_labels": len(label_names(stream(files, task=task)))} if task == "seq-cls" else {}
    return {"lengths": found["lengths"], "loss_lengths": found["loss_lengths"], **classes}


def _show_ranking(app: App, plans: list[Ranked]) -> None:
    if app.json:
        return write_json(msgspec.to_builtins(plans))
    shown = [
        {
            "method": row.method, "peak": size(row.total_bytes), "fits": row.fits,
            "speed": f"{row.relative_speed:.1f}x" + (f" {row.tokens_per_second:.0f}" if row.tokens_per_second else ""),
            "from": "runs" if row.speed_from == "runs" else "",
            "trains": f"{row.trainable_parameters:,}", "why": " ".join([*(f"{sentence}." for sentence in row.advice), row.good_for]),
        }
        for row in plans
    ]  # fmt: skip
    columns = [("method", "method"), ("peak", "peak>"), ("fits", "fits"), ("trains", "trains>"), ("speed", "speed>")]
    if any(row.speed_from == "runs" for row in plans):
        columns.append(("from", "from"))
    table(shown, [*columns, ("why", "why")], empty="no method accepts this model")
    if plans:
        narrate("speed: expected, over that of full fine-tuning" + (", and tokens a second" if plans[0].tokens_per_second else ""))
        _show_record(plans[0].record)


def _show_probe(probe: dict[str, Any]) -> None:
    what = f"{probe['tokens']:,} tokens on {probe['device']}"
    click.echo(f"measured: {size(probe['peak_memory_bytes'])} at the peak, {probe['seconds']:.3g} s a step, {what}")


def _show_record(record: Record) -> None:
    """How far past plans can be trusted, for people."""
    if record.runs:
        typical, worst = record.median_ratio, record.worst_ratio
        narrate(f"record: {plural(record.runs, 'run')}, planned over measured {typical:.2f} in the median, {worst:.2f} at worst")
    if record.overhead_runs:
        narrate(f"overhead learned from {record.overhead_runs} runs ({record.overhead_factor:.2f} times what is assumed otherwise)")
