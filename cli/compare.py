"""``finetui compare``: several methods, trained alike, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any, get_args

import click

from ..core.api import Task
from ..core.compare.asking import Question, compare_request
from ..core.compare.export import check_target
from ..core.errors import UsageError
from ..core.runs.requests import start
from .command import App, command, settings_of
from .comparison import comparison_outcome
from .data import COLUMNS_HELP, TASK_HELP, columns_of
from .output import narrate, size, write_json
from .watch import watch

_METHODS_HELP = "Methods joined by commas; label=method takes one several times: lora,big=lora."
_SET_HELP = "Any option, for every method that has it, or label:key=value for one."


@command("compare")
@click.option("--model", required=True, help="Base model: a folder, a catalog name or a Hub id.")
@click.option("--data", required=True, multiple=True, metavar="FILE", help="Training data; may be given several times.")
@click.option("--methods", required=True, multiple=True, metavar="A,B,...", help=_METHODS_HELP)
@click.option("--name", default="", help="Name of the comparison; the results are called NAME-METHOD.")
@click.option("--set", "settings", multiple=True, metavar="[METHOD:]K=V", help=_SET_HELP)
@click.option("--task", type=click.Choice(get_args(Task)), default=None, help=TASK_HELP)
@click.option("--objective", default="", help="sft (answers) or text (every token); default: by the shape of the data.")
@click.option("--columns", default="", help=COLUMNS_HELP)
@click.option("--eval-data", multiple=True, metavar="FILE", help="What all are evaluated on.")
@click.option("--eval-split", type=float, default=0.1, show_default=True, help="Share kept for that where there is no --eval-data.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random; the same for all methods.")
@click.option("--seeds", type=int, default=1, show_default=True, help="Train each method with so many seeds: mean and spread.")
@click.option("--gpus", default=None, help="auto, none, or indices or UUIDs: 0,1; one training on each at a time.")
@click.option("--export", "target", type=click.Path(path_type=Path), default=None, help="Write the table to a .md, .csv or .json file.")
@click.option("--follow/--detach", "following", default=True, help="Wait for the table, or return at once with the run's id.")
def compare(app: App, methods: tuple[str, ...], settings: tuple[str, ...], target: Path | None, following: bool, **options: Any) -> None:
    """Train each method on the same data in the same order for as many steps, evaluate all on the same rows, and compare.

    Methods that cannot train the model become rows that say why. The comparison is a run: closing the terminal does not stop it, `runs
    stop` and `runs resume` do what they say, and its table can be seen and exported at any time: finetui runs compare RUN.
    """
    if target is not None:
        if not following:
            raise UsageError("--export needs the finished table", "later: finetui runs compare RUN --export FILE")
        check_target(target)
    known = {key: options[key] for key in ("model", "name", "task", "objective", "data", "eval_data", "eval_split", "seed", "seeds")}
    question = Question(
        **known, methods=[word for word in ",".join(methods).split(",") if word.strip()], settings=settings_of(settings),
        columns=columns_of(options["columns"]), gpus=options["gpus"] or app.settings.gpus,
    )  # fmt: skip
    name, request = compare_request(app.home, question)
    run = start(app.home, "compare", name, request)
    planned = max((entry.request.get("planned_memory_bytes", 0) for entry in request.entries), default=0)
    narrate(f"run {run.id}: {name}, {len(request.entries)} trainings, planned peak memory {size(planned)}")
    if following:
        watch(app, run)
        return comparison_outcome(app, run, target)
    if app.json:
        return write_json({"run": run.id, "state": run.state().state, "name": name})
    narrate(f"detached; finetui runs follow {run.id}")
