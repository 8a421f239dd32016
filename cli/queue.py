"""``finetui queue``: what waits for a device, and in which order."""

from __future__ import annotations

import click

from ..core.runs.queue import MOVES, Queue, describe
from .command import App, group, subcommand
from .output import narrate, plural, size, table, write_json

_COLUMNS = [
    ("position", "#>"), ("run", "run"), ("name", "name"), ("kind", "kind"), ("method", "method"), ("priority", "priority>"),
    ("gpus", "gpus"), ("memory", "planned>"), ("reason", "waits for"),
]  # fmt: skip


@group()
def queue() -> None:
    """Runs that wait for a device: list, reorder, pause. `finetui runs stop` takes one out."""


@subcommand(queue, "list")
def list_queue(app: App) -> None:
    """What waits, in the order in which it will start."""
    _show(app)


@subcommand(queue, "move")
@click.argument("run")
@click.argument("where", metavar="|".join([*(word.upper() for word in MOVES), "POSITION"]))
def move(app: App, run: str, where: str) -> None:
    """Move a run to the top, up, down, to the bottom, or to a position (1 is next), whatever its priority."""
    Queue(app.home).move(app.runs.get(run).id, where.lower())
    _show(app)


@subcommand(queue, "pause")
def pause(app: App) -> None:
    """Start nothing that needs a GPU, or waits, until `finetui queue unpause`; what runs goes on."""
    Queue(app.home).pause()
    _show(app)


@subcommand(queue, "unpause")
def unpause(app: App) -> None:
    """Start again what can start."""
    Queue(app.home).unpause()
    _show(app)


def _show(app: App) -> None:
    """The queue as it is now."""
    line = Queue(app.runs.home)  # asking for the runs also makes sure that the queue is served
    paused = line.paused
    rows = [describe(waiting, paused) for waiting in line.waiting()]
    if app.json:
        return write_json(rows)
    if paused:
        narrate(f"the queue is paused, {plural(len(rows), 'run')} waiting; finetui queue unpause starts it again")
    shown = [{**row, "memory": size(row["planned_memory_bytes"]), "reason": row["reason"].removeprefix("waiting for ")} for row in rows]
    table(shown, _COLUMNS, empty="nothing waits")
