"""Starting a run's supervisor, detached from the terminal and from the process that starts it."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from typing import Literal

import msgspec

from .. import errors, fsio
from .identity import TAG
from .records import console_tail
from .store import Run

Mode = Literal["start", "resume", "adopt"]

READY_SECONDS = 30.0
"""Longest wait for a supervisor that says nothing; it usually answers within a tenth of a second."""


def launch(run: Run) -> None:
    """Start a queued run; returns when its supervisor holds the run's lock and has written the state ``starting``.

    Raises:
        Refused: the run is supervised already, or is not queued any more.
        WorkFailed: the supervisor could not start.
    """
    start_supervisor(run, "start")


def resume(run: Run) -> None:
    """Start a new attempt of a run that was stopped, failed or lost, from its last checkpoint; returns as `launch` does.

    Raises:
        Refused: the run is active, has succeeded, or is another machine's.
        WorkFailed: the supervisor could not start.
    """
    start_supervisor(run, "resume")


def start_supervisor(run: Run, mode: Mode) -> None:
    """Start a supervisor and wait for its word. It forks once, so what is waited for here ends at once: no zombie is left."""
    reading, writing = os.pipe()
    environment = {name: value for name, value in os.environ.items() if name != TAG}
    command = [sys.executable, "-P", "-m", "finetui.core.runs.supervisor", str(run.dir), mode, str(writing)]
    try:
        with fsio.disk_errors(run.dir / "console.log"), open(run.dir / "console.log", "ab") as console:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=console, stderr=console,
                pass_fds=(writing,), start_new_session=True, env=environment,
            )  # fmt: skip
    except BaseException:
        os.close(reading)
        raise
    finally:
        os.close(writing)
    try:
        answer = _read_answer(reading)
    finally:
        os.close(reading)
    process.wait()
    _check(run, answer)


def _read_answer(descriptor: int) -> bytes:
    """What the supervisor wrote into the pipe before closing it."""
    answer = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], READY_SECONDS)
        if not ready:
            return answer
        block = os.read(descriptor, 65536)
        if not block:
            return answer
        answer += block


def _check(run: Run, answer: bytes) -> None:
    if not answer:
        tail = console_tail(run.dir)
        raise errors.WorkFailed(f"the supervisor of run {run.id} did not start: {tail or 'it said nothing'}", f"see {run.dir}/console.log")
    error = msgspec.json.decode(answer).get("error")
    if error is not None:
        raise errors.error_from_dict(error)
