"""Starting a run's supervisor with its devices, detached from the terminal and from the process that starts it; or letting it wait."""

from __future__ import annotations

import contextlib
import os
import select
import subprocess
import sys
from typing import TYPE_CHECKING, Literal

import msgspec

from .. import errors, fsio
from . import console, notify, records
from .failure import describe_error
from .identity import TAG
from .spec import host_name
from .store import Run

if TYPE_CHECKING:
    from .leases import Lease

Mode = Literal["start", "resume", "adopt"]

READY_SECONDS = 30.0
"""Longest wait for a supervisor that says nothing; it usually answers within a tenth of a second."""


def launch(run: Run, *, queue: bool = False, priority: int = 0) -> None:
    """Start a queued run, or let it wait in the queue where its devices cannot be had now.

    Returns when its supervisor holds the run's lock and has written the state ``starting``, or when it is in the queue, ``queued``
    with the reason.

    Args:
        queue: put it into the queue in any case, where queued runs on the CPU take turns.
        priority: in the queue; those with more come first.

    Raises:
        Refused: the run is supervised already, or is not queued any more.
        NotFound: a GPU that it names does not exist; the run has failed with this error.
        WorkFailed: the supervisor could not start.
    """
    _start_or_wait(run, "start", queue, priority)


def resume(run: Run, *, queue: bool = False, priority: int = 0) -> None:
    """A new attempt of a run that was stopped, failed or lost, from its last checkpoint; otherwise as `launch`.

    Raises:
        Refused: the run is active, has succeeded, or is another machine's.
        WorkFailed: the supervisor could not start.
    """
    state = run.state().state
    if state not in ("stopped", "failed", "lost"):
        raise errors.Refused(f"run {run.id} is {state} and cannot be resumed")
    if run.spec.host != host_name():
        raise errors.Refused(f"run {run.id} belongs to {run.spec.host}", "use finetui there")
    _start_or_wait(run, "resume", queue, priority)


def _start_or_wait(run: Run, mode: Literal["start", "resume"], queue: bool, priority: int) -> None:
    if not queue and run.spec.request.get("gpus", "none") == "none":
        return start_supervisor(run, mode)
    from .leases import Lease, holder
    from .placing import place, wants_of
    from .queue import Queue, serve

    try:
        wants = wants_of(run.spec.request)
    except errors.FineTUIError as problem:
        fail_unstarted(run, problem)
        raise
    line = Queue(run.home)
    if wants.devices == ["cpu"] and not queue:
        return start_supervisor(run, mode)
    reason = "in the queue" if queue else line.objection(run, wants, priority)
    if not reason:
        placed = place(wants, holder(f"run {run.id} ({run.spec.name})"))
        if isinstance(placed, Lease):
            try:
                return start_supervisor(run, mode, placed)
            finally:
                placed.release()
        reason = f"waiting for {placed.reason}"
    line.add(run, wants, reason, mode=mode, priority=priority)
    serve(run.home)


def fail_unstarted(run: Run, problem: BaseException) -> None:
    """Mark a queued run that cannot be started as failed; one that is under way is left alone. A full disk keeps it queued."""
    error = describe_error(problem)
    with contextlib.suppress(errors.DiskError), records.unsupervised(run.dir, "queued") as state:
        if state is not None:
            records.change_state(run.dir, state, "failed", error.message.splitlines()[0], error=error.to_dict())
            notify.start(run.dir)


def start_supervisor(run: Run, mode: Mode, lease: Lease | None = None) -> None:
    """Start a supervisor and wait for its word. It forks once, so what is waited for here ends at once: no zombie is left.

    Args:
        lease: devices for the job; the supervisor inherits it, and the caller lets go of it afterwards. None: the CPU.

    Raises:
        Refused: the run's state does not allow this.
        WorkFailed: the supervisor could not start.
    """
    reading, writing = os.pipe()
    environment = {name: value for name, value in os.environ.items() if name != TAG}
    devices, descriptors = (lease.devices, lease.descriptors) if lease else (["cpu"], [])
    held = msgspec.json.encode({"devices": devices, "descriptors": descriptors}).decode()
    command = [sys.executable, "-P", "-m", "finetui.core.runs.supervisor", str(run.dir), mode, str(writing), held]
    try:
        with fsio.disk_errors(console.log_file(run.dir)), open(console.log_file(run.dir), "ab") as log:
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                pass_fds=(writing, *descriptors), start_new_session=True, env=environment,
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
        tail = console.tail(run.dir)
        raise errors.WorkFailed(f"the supervisor of run {run.id} did not start: {tail or 'it said nothing'}", f"see {run.dir}/console.log")
    error = msgspec.json.decode(answer).get("error")
    if error is not None:
        raise errors.error_from_dict(error)
