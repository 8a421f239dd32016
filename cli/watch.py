"""Watching a run from the command line: progress on stderr, metric lines on stdout under ``--json``."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from typing import Any, Protocol

import click
import msgspec

from ..core.errors import FineTUIError, WorkFailed, error_from_dict
from ..core.paths import Home
from ..core.runs import control
from ..core.runs.follow import Update, follow
from ..core.runs.pulse import STALLED
from ..core.runs.requests import start
from ..core.runs.spec import RunKind, RunState
from ..core.runs.store import Run
from ..core.terminal import attention
from .command import App
from .output import narrate, plain, report, write_json

_POLL_SECONDS = 0.2


class Shown(Protocol):
    """Where progress goes: a bar on a terminal, nothing elsewhere."""

    def update(self, done: float, total: float, text: str) -> None:
        """Show ``done`` of ``total`` and a few words."""
        ...


class _Silent:
    def update(self, done: float, total: float, text: str) -> None:
        pass


class _Bar:
    def __init__(self, progress: Any, name: str) -> None:
        self._progress = progress
        self._task = progress.add_task(name, total=None, words="starting")

    def update(self, done: float, total: float, text: str) -> None:
        self._progress.update(self._task, completed=done, total=total or None, words=text)


@contextlib.contextmanager
def progress_bar(name: str) -> Iterator[Shown]:
    """A progress bar on stderr when that is a terminal, else nothing."""
    if not sys.stderr.isatty():
        yield _Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"), BarColumn(bar_width=24), MofNCompleteColumn(), TextColumn("{task.fields[words]}"),
        TimeElapsedColumn(), TimeRemainingColumn(compact=True),
    )  # fmt: skip
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        yield _Bar(progress, name)


def watch(app: App, run: Run, *, quiet: bool = False, detaches: bool = True) -> None:
    """Follow a run until it ends. Ctrl-C stops watching only, and says how to come back.

    Args:
        detaches: whether the caller lets the run go on at Ctrl-C.
        quiet: no events, and no metric lines under ``--json`` (for commands whose stdout is one document).
    """
    view, state = _View(app, quiet), ""
    try:
        with progress_bar(run.spec.name) as bar:
            for update in follow(run, interval=_POLL_SECONDS):
                view.show(update, bar)
                state = update.state.state
        if not quiet and sys.stderr.isatty():
            sys.stderr.write(attention(f"FineTUI: {run.spec.name} {state}", app.settings.notify))
            sys.stderr.flush()
    except KeyboardInterrupt:
        if detaches:
            narrate(f"detached; the run goes on: finetui runs follow {run.id}")
        raise


class _View:
    """Turns updates into lines and a bar; remembers how many steps there will be."""

    def __init__(self, app: App, quiet: bool) -> None:
        self.app = app
        self.quiet = quiet
        self.total_steps = 0
        self.reason = ""

    def show(self, update: Update, bar: Shown) -> None:
        self._tell_reason(update.state)
        for event in update.events:
            self.total_steps = event.data.get("total_steps", self.total_steps)
            if event.kind == "progress":
                bar.update(event.data["done"], event.data["total"], event.data["unit"])
            elif not self.quiet and not self.app.json:
                narrate(f"  {event.message}")
        for row in update.metrics:
            if self.app.json and not self.quiet:
                write_json(row)
            if "loss" in row:
                bar.update(row["step"], self.total_steps, f"loss {row['loss']:.3f}  {row.get('tokens_per_second', 0):,.0f} tok/s")

    def _tell_reason(self, state: RunState) -> None:
        """Why a run waits, or that it stands still and goes on again."""
        before, self.reason = self.reason, state.reason
        if state.reason == before:
            return
        if state.state in ("queued", "starting") and state.reason:
            narrate(f"  {state.state}: {state.reason}")
        elif state.state == "running" and not self.quiet and not self.app.json:
            if state.reason.startswith(STALLED):
                narrate(f"  {state.reason}")
            elif before.startswith(STALLED):
                narrate("  it goes on")


def outcome(app: App, run: Run) -> None:
    """Print how a followed run ended: the contract's last line of ``train --follow``.

    Raises:
        FineTUIError: the run failed or was lost, with its own error and exit code.
    """
    row = run.summary()
    if app.json:
        write_json(row)
    else:
        narrate(f"{row['name']}: {row['state']}" + (f", {row['adapter']}" if row["adapter"] else ""))
        if row.get("eval"):
            narrate("  " + "  ".join(f"{key} {plain(value)}" for key, value in row["eval"].items()))
    if row["state"] in ("failed", "lost"):
        error = error_of(run)
        if not app.json:
            raise error
        click.get_current_context().exit(report(error, as_json=False))  # stdout's last line is the run, as after any other end


def error_of(run: Run) -> FineTUIError:
    """The error a failed or lost run ended with."""
    state = run.state()
    if state.error:
        return error_from_dict(state.error)
    return WorkFailed(f"run {run.id} is {state.state}: {state.reason}", f"finetui runs logs {run.id}")


def finish(
    app: App,
    home: Home,
    kind: RunKind,
    name: str,
    request: msgspec.Struct,
    *,
    detach: bool = False,
) -> dict[str, Any] | None:
    """Start a run that is not training; wait for it and return its result, or with ``detach`` say which run it is.

    Ctrl-C stops the run.

    Raises:
        FineTUIError: the run's own error.
    """
    run = start(home, kind, name, request)
    if detach:
        if app.json:
            write_json({"run": run.id, "state": run.state().state, "name": name})
        else:
            narrate(f"started {run.id}; finetui runs follow {run.id}")
        return None
    try:
        watch(app, run, quiet=True, detaches=False)
    except KeyboardInterrupt:
        control.stop(run, now=True)
        raise
    result = run.result()
    if result is None or result.state != "succeeded":
        raise error_of(run)
    return result.result
