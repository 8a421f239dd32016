"""``finetui train``: its flags are the training loop's options and those of the method named on the line."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any, get_args

import click
from click.core import ParameterSource

from ..core import registry
from ..core.api import Task
from ..core.config import read_toml
from ..core.errors import FineTUIError, UsageError
from ..core.options import describe
from ..core.runs.requests import start, train_request
from ..core.training import TrainingOptions
from .command import App, command, key_values, settings_of, share_gpu_option
from .data import COLUMNS_HELP, TASK_HELP, columns_of
from .flags import flag
from .output import narrate, size, write_json
from .watch import outcome, watch


class TrainCommand(click.Command):
    """Adds the flags of the loop and of the method that the command line names."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        ctx.meta["finetui.method"] = _named_method(args)
        return super().parse_args(ctx, args)

    def get_params(self, ctx: click.Context) -> list[click.Parameter]:
        own = super().get_params(ctx)
        taken = {parameter.name for parameter in own}
        rows = list(describe(TrainingOptions))
        name = ctx.meta.get("finetui.method")
        if name:
            with contextlib.suppress(FineTUIError):  # the command reports an unknown or broken method, with the closest names
                rows += describe(registry.load("methods", name).options)
        return own[:-1] + [flag(row) for row in rows if row.name not in taken] + own[-1:]


def _named_method(args: list[str]) -> str:
    """The method that the command line names, or else its ``-c`` file: needed before parsing, because its options are flags."""
    named = _value_of(("--method",), args)
    file = _value_of(("-c", "--config"), args)
    if named or not file:
        return named
    with contextlib.suppress(FineTUIError):  # the option itself reports a file that cannot be read
        return str(read_toml(Path(file)).get("method", ""))
    return ""


def _value_of(flags: tuple[str, ...], args: list[str]) -> str:
    for word, following in zip(args, [*args[1:], ""]):
        if word in flags:
            return following
        name, equals, value = word.partition("=")
        if equals and name in flags:
            return value
    return ""


@command("train", cls=TrainCommand)
@click.option("--model", required=True, help="Base model: a folder, a catalog name or a Hub id.")
@click.option("--data", required=True, multiple=True, metavar="FILE", help="Training data; may be given several times.")
@click.option("--method", required=True, help="Fine-tuning method: finetui methods list.")
@click.option("--name", default="", help="Name of the result; default: made from model and method.")
@click.option("--set", "settings", multiple=True, metavar="K=V", help="Any option by name, the value in TOML.")
@click.option("--task", type=click.Choice(get_args(Task)), default=None, help=TASK_HELP)
@click.option("--objective", default="", help="sft (answers) or text (every token); default: by the shape of the data.")
@click.option("--columns", default="", help=COLUMNS_HELP)
@click.option("--eval-data", multiple=True, metavar="FILE", help="Evaluation data.")
@click.option("--eval-split", type=float, default=0.1, show_default=True, help="Share kept for evaluation where there is no --eval-data.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of everything random.")
@click.option("--split-seed", type=int, default=None, help="Of the evaluation split; default: that of --seed.")
@click.option("--gpus", default=None, help="auto, none, or indices or UUIDs: 0,1.")
@share_gpu_option
@click.option("--queue", is_flag=True, help="Let it wait in the queue; queued runs on the CPU take turns.")
@click.option("--priority", type=int, default=0, show_default=True, help="In the queue; those with more come first.")
@click.option("--executor", default="local", show_default=True, help="Where the run executes.")
@click.option("--follow/--detach", "following", default=None, help="Watch it, or return at once; default: watch on a terminal.")
def train(app: App, following: bool | None, queue: bool, priority: int, **options: Any) -> None:
    """Fine-tune a model. The run is detached: closing the terminal does not stop it.

    Where its GPU is taken, or has not enough memory free, the run waits in the queue (finetui queue list).

    Options of the method appear here when --method is given: finetui train --method lora --help.
    """
    request = train_request(app.home, settings=_settings(options), **_arguments(app, options))
    run = start(app.home, "train", request.name, request, queue=queue, priority=priority)
    if request.planned_memory_bytes:
        narrate(f"run {run.spec.run}: {request.name}, planned peak memory {size(request.planned_memory_bytes)}")
    if following is None:
        following = sys.stderr.isatty()
    if following:
        watch(app, run)
        return outcome(app, run)
    if app.json:
        return write_json(run.summary())
    state = run.state()
    if state.state == "queued":
        narrate(f"queued: {state.reason}")
    narrate(f"detached; finetui runs follow {run.spec.run}")


_REQUEST_KEYS = ("model", "method", "name", "task", "objective", "eval_split", "seed", "split_seed", "executor")


def _arguments(app: App, options: dict[str, Any]) -> dict[str, Any]:
    values = {key: options[key] for key in _REQUEST_KEYS}
    values["data"], values["eval_data"] = list(options["data"]), list(options["eval_data"])
    values["columns"] = columns_of(options["columns"])
    values["gpus"], values["share_gpu"] = options["gpus"] or app.settings.gpus, app.shares(options["share_gpu"])
    return values


def _settings(options: dict[str, Any]) -> dict[str, Any]:
    """The file's ``-c`` values, ``--set`` pairs and flags in one mapping, the command line over the file.

    Raises:
        UsageError: one option comes both ways on the command line, with different values.
    """
    context = click.get_current_context()
    own = {*_REQUEST_KEYS, "data", "eval_data", "columns", "gpus", "share_gpu", "settings"}
    values = {key: value for key, value in options.items() if key not in own and value is not None}
    from_file = {key: value for key, value in values.items() if context.get_parameter_source(key) == ParameterSource.DEFAULT_MAP}
    flags = {key: value for key, value in values.items() if key not in from_file}
    pairs = key_values(options["settings"])
    for key in flags.keys() & pairs.keys():
        if flags[key] != pairs[key]:
            raise UsageError(f"{key} is given twice: {flags[key]} and {pairs[key]}", "give it once")
    return {**from_file, **settings_of(options["settings"]), **flags}
