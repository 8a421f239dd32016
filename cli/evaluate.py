"""``finetui eval``: loss and perplexity, or accuracy and F1, of a base and of its adapters, on one loaded base."""

from __future__ import annotations

from typing import get_args

import click

from ..core.api import Task
from ..core.runs.requests import evaluate_request
from .command import App, command, settings_of, share_gpu_option
from .data import COLUMNS_HELP, columns_of
from .output import table, write_json
from .watch import finish

_COLUMNS = [
    ("name", "adapter"),
    ("loss", "loss>"),
    ("perplexity", "perplexity>"),
    ("accuracy", "accuracy>"),
    ("f1", "F1>"),
    ("tokens", "tokens>"),
]


@command("eval")
@click.option("--model", required=True, help="Base model.")
@click.option("--adapter", "adapters", multiple=True, help="An adapter of that base; may be given several times.")
@click.option("--data", required=True, multiple=True, metavar="FILE", help="Evaluation data; may be given several times.")
@click.option("--task", type=click.Choice(get_args(Task)), default=None, help="Default: that of the adapters.")
@click.option("--columns", default="", help=COLUMNS_HELP)
@click.option("--objective", default="", help="sft or text; default: by the shape of the data.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="max_length, per_device_eval_batch_size, loss_on, ...")
@click.option("--gpus", default=None, help="auto, none, or indices or UUIDs.")
@share_gpu_option
@click.option("--detach", is_flag=True, help="Return at once with the run's id.")
def evaluate(
    app: App, model: str, adapters: tuple[str, ...], data: tuple[str, ...], task: Task | None, columns: str, objective: str,
    settings: tuple[str, ...], gpus: str | None, share_gpu: bool | None, detach: bool,
) -> None:  # fmt: skip
    """Loss and perplexity, averaged over the tokens that carry loss, or accuracy and macro-F1; the first row is the base alone."""
    request = evaluate_request(
        app.home, model=model, adapters=adapters, data=data, columns=columns_of(columns), task=task, objective=objective,
        settings=settings_of(settings), gpus=gpus or app.settings.gpus, share_gpu=app.shares(share_gpu),
    )  # fmt: skip
    result = finish(app, app.home, "evaluate", f"eval-{request.model.rsplit('/', 1)[-1]}", request, detach=detach)
    if result is None:
        return
    if app.json:
        return write_json(result["rows"])
    table([{**row, "name": row.get("name") or "(base)"} for row in result["rows"]], _COLUMNS, empty="nothing was evaluated")
