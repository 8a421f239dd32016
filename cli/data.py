"""``finetui data``: check files before training on them, and see exactly what training would see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ..core.api import Task
from ..core.data.checking import check as check_files
from ..core.errors import DataError
from ..core.planner.reading import read_model
from ..core.planner.tasks import choose_task
from ..core.runs.requests import existing_files, require_trainable
from .command import App, group, key_values, settings_of, subcommand
from .datatext import print_report, print_rows
from .output import report as print_error
from .output import write_json


@group()
def data() -> None:
    """Check and preview training data."""


COLUMNS_HELP = "Rename columns: prompt=question,response=answer, or text=review,label=stars."
SETTINGS_HELP = "max_length, loss_on, system_prompt."
TASK_HELP = "Write text, or tell labels apart; default: seq-cls for encoders, classifiers and renamed label columns, else causal-lm."


def columns_of(text: str) -> dict[str, str]:
    """``prompt=question,response=answer`` as a dict."""
    return {key: str(value) for key, value in key_values([part for part in text.split(",") if part], "--columns").items()}


@subcommand(data, "check")
@click.argument("files", nargs=-1, required=True)
@click.option("--columns", default="", help=COLUMNS_HELP)
@click.option("--model", default="", help="Also count tokens with this model's tokenizer.")
@click.option("--task", type=click.Choice(["causal-lm", "seq-cls"]), default=None, help=TASK_HELP)
@click.option("--set", "settings", multiple=True, metavar="K=V", help=SETTINGS_HELP)
def check(app: App, files: tuple[str, ...], columns: str, model: str, task: Task | None, settings: tuple[str, ...]) -> None:
    """Format, rows, columns, repeated rows, and every problem with its line number; exits 2 when there is a problem."""
    paths, renamed = existing_files(files), columns_of(columns)
    chosen = task or (choose_task(read_model(Path(app.catalog.model(model).path)), renamed) if model else "causal-lm")
    report = check_files(paths, renamed, chosen)
    row = msgspec.to_builtins(report)
    if model and not report.problems:
        row["tokens"] = _session_call(app, model, "lengths", data=paths, columns=renamed, task=chosen, settings=settings_of(settings))
        row["histogram"] = row["tokens"]["histogram"]
    if app.json:
        write_json(row)
    else:
        print_report(row)
    if report.problems:
        error = DataError(f"{report.problem_count} problem(s) in {', '.join(files)}", "mend the rows that are named")
        click.get_current_context().exit(print_error(error, as_json=False))  # stdout has the report, problems included


@subcommand(data, "preview")
@click.argument("files", nargs=-1, required=True)
@click.option("--model", required=True, help="Whose tokenizer and chat template to use.")
@click.option("-n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="Rows to show.")
@click.option("--columns", default="", help=COLUMNS_HELP)
@click.option("--objective", default="", help="sft, text or classify; default: by the shape of the data.")
@click.option("--task", type=click.Choice(["causal-lm", "seq-cls"]), default=None, help=TASK_HELP)
@click.option("--set", "settings", multiple=True, metavar="K=V", help=SETTINGS_HELP)
def preview(
    app: App, files: tuple[str, ...], model: str, count: int, columns: str, objective: str, task: str | None, settings: tuple[str, ...]
) -> None:
    """The rendered prompt and, token by token, which tokens carry loss (bright) and which do not (dim)."""
    rows = _session_call(
        app, model, "preview", data=existing_files(files), columns=columns_of(columns), n=count, objective=objective, task=task,
        settings=settings_of(settings),
    )["rows"]  # fmt: skip
    if app.json:
        return write_json(rows)
    print_rows(rows)


def _session_call(app: App, model: str, op: str, **arguments: Any) -> dict[str, Any]:
    from ..core.session import WorkerSession

    entry = app.catalog.model(model)
    require_trainable(entry)
    with WorkerSession(app.home.log, gpus="none") as session:
        return session.call(op, model_path=entry.path, **arguments)
