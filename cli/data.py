"""``finetui data``: check files before training on them, and see exactly what training would see."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ..core.data.checking import check as check_files
from ..core.errors import DataError
from ..core.runs.requests import existing_files, require_trainable
from .command import App, group, key_values, settings_of, subcommand
from .output import details, narrate, size, write_json
from .output import report as print_error


@group()
def data() -> None:
    """Check and preview training data."""


COLUMNS_HELP = "Rename columns: prompt=question,response=answer, or text=review,label=stars."
TASK_HELP = "Write text, or tell labels apart; default: seq-cls for encoders, classifiers and renamed label columns, else causal-lm."


def columns_of(text: str) -> dict[str, str]:
    """``prompt=question,response=answer`` as a dict."""
    return {key: str(value) for key, value in key_values([part for part in text.split(",") if part], "--columns").items()}


@subcommand(data, "check")
@click.argument("files", nargs=-1, required=True)
@click.option("--columns", default="", help=COLUMNS_HELP)
@click.option("--model", default="", help="Also count tokens with this model's tokenizer.")
def check(app: App, files: tuple[str, ...], columns: str, model: str) -> None:
    """Format, rows, columns, and every problem with its line number; exits 2 when there is one."""
    report = check_files(existing_files(files), columns_of(columns))
    row = msgspec.to_builtins(report)
    if model and not report.problems:
        row["tokens"] = _session_call(app, model, "lengths", data=existing_files(files), columns=columns_of(columns))
    if app.json:
        write_json(row)
    else:
        tokens = {key: value for key, value in row.get("tokens", {}).items() if not isinstance(value, list)}
        details({**row, "size_bytes": size(row["size_bytes"]), "problems": None, "tokens": tokens})
        for problem in report.problems:
            narrate(f"{problem.source}: {problem.message}")
    if report.problems:
        error = DataError(f"{report.problem_count} problem(s) in {', '.join(files)}", "mend the rows that are named")
        click.get_current_context().exit(print_error(error, as_json=False))  # stdout has the report, problems included


@subcommand(data, "preview")
@click.argument("files", nargs=-1, required=True)
@click.option("--model", required=True, help="Whose tokenizer and chat template to use.")
@click.option("-n", "count", type=click.IntRange(min=1), default=1, show_default=True, help="Rows to show.")
@click.option("--columns", default="", help=COLUMNS_HELP)
@click.option("--objective", default="", help="sft or text; default: by the shape of the data.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="max_length, loss_on, system_prompt.")
def preview(app: App, files: tuple[str, ...], model: str, count: int, columns: str, objective: str, settings: tuple[str, ...]) -> None:
    """The rendered prompt and, token by token, which tokens carry loss (bright) and which do not (dim)."""
    rows = _session_call(
        app, model, "preview", data=existing_files(files), columns=columns_of(columns), n=count, objective=objective,
        settings=settings_of(settings),
    )["rows"]  # fmt: skip
    if app.json:
        return write_json(rows)
    _print_rows(rows)


def _session_call(app: App, model: str, op: str, **arguments: Any) -> dict[str, Any]:
    from ..core.session import WorkerSession

    entry = app.catalog.model(model)
    require_trainable(entry)
    with WorkerSession(app.home.log, gpus="none") as session:
        return session.call(op, model_path=entry.path, **arguments)


def _print_rows(rows: list[dict[str, Any]]) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for number, row in enumerate(rows, 1):
        learned = sum(label != -100 for label in row["labels"])
        console.rule(f"row {number}: {len(row['input_ids'])} tokens, {learned} carry loss")
        text = Text()
        for token, label in zip(row.get("tokens", []), row["labels"], strict=False):
            text.append(token, style="dim" if label == -100 else "bold")
        console.print(text if row.get("tokens") else row["text"])
