"""Real runs of toy jobs: made, watched and cleared away without a trace."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from finetui.core.fsio import is_locked
from finetui.core.paths import Home
from finetui.core.runs.control import stop
from finetui.core.runs.identity import find_tagged, signal_process
from finetui.core.runs.launch import launch
from finetui.core.runs.spec import ACTIVE, RunState
from finetui.core.runs.store import Run, RunStore

TESTS = Path(__file__).resolve().parent.parent
TOY = "support.toyjobs"


def until(condition: Callable[[], Any], seconds: float = 15.0, what: str = "") -> Any:
    """Wait for a condition to hold and return its value; fail when it does not come true in time."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what or condition}"
        time.sleep(0.02)
    return value


def kill_supervisor(run: Run) -> None:
    """SIGKILL the supervisor and wait until its lock is free."""
    assert signal_process(run.state().supervisor, signal.SIGKILL)
    until(lambda: not is_locked(run.dir / "lock"), what="the supervisor's end")


def wait_for(run: Run, *states: str, seconds: float = 15.0) -> RunState:
    """Wait for one of these states, as written by the supervisor (nobody else looks after the run meanwhile)."""
    until(lambda: run.state().state in states, seconds, f"{states}, now {run.state()}")
    return run.state()


def wait_for_end(run: Run, seconds: float = 15.0) -> RunState:
    """Wait until the run has ended and its supervisor is gone."""
    until(lambda: run.state().state not in ACTIVE, seconds, f"the end, now {run.state()}")
    until(lambda: not is_locked(run.dir / "lock"), 5, "the supervisor's end")
    return run.state()


def stop_and_wait(run: Run) -> None:
    """Stop a run and wait for its end."""
    stop(run)
    wait_for_end(run)


class Toys:
    """Creates toy runs in one home and remembers them."""

    def __init__(self, home: Path) -> None:
        self.store = RunStore(Home(home).create())
        self.runs: list[Run] = []

    def create(self, name: str = "toy", **request: Any) -> Run:
        """A queued run whose job is `support.toyjobs` with this request."""
        run = self.store.create("train", name, {"gpus": "none", **request}, module=TOY)
        self.runs.append(run)
        return run

    def start(self, name: str = "toy", **request: Any) -> Run:
        """A launched run."""
        run = self.create(name, **request)
        launch(run)
        return run

    def clear(self) -> list[int]:
        """End whatever is left of the runs; returns the process ids that should not have been there."""
        left = []
        for run in self.runs:
            state = run.state()
            active = state.state in ACTIVE
            for process in [*find_tagged(run.id), *([state.supervisor] if active and state.supervisor else [])]:
                if signal_process(process, signal.SIGKILL):
                    left.append(process.pid)
        return left


def hold(toys: Toys, gpus: str = "0", **request: Any) -> Run:
    """A run that has a GPU until it is stopped."""
    run = toys.start("holder", gpus=gpus, steps=10000, pause=0.02, **request)
    wait_for(run, "running")
    return run


@contextmanager
def toys_in(home: Path) -> Iterator[Toys]:
    """Toy runs for one test; fails it when a process outlives it."""
    toys = Toys(home)
    try:
        yield toys
    except BaseException:
        toys.clear()
        raise
    assert toys.clear() == [], "processes outlived their test"


def python(code: str, *arguments: str, **options: Any) -> subprocess.Popen[str]:
    """Start another Python process that runs ``code``; its output is piped."""
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=dict(os.environ), **options
    )


LAUNCH = """
import sys
from pathlib import Path
from finetui.core.errors import FineTUIError
from finetui.core.paths import Home
from finetui.core.runs.launch import launch
from finetui.core.runs.store import RunStore
run = RunStore(Home(Path(sys.argv[1]))).get(sys.argv[2])
{before}
try:
    launch(run)
except FineTUIError as problem:
    print(problem.message)
    sys.exit(problem.exit_code)
print("launched", flush=True)
{after}
"""
"""A process that launches the run argv[2] of the home argv[1]."""
