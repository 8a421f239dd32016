"""The frame of every job process: signals, events, metrics, and ``result.json`` as the last act.

A job module is started as ``python -m MODULE RUN_DIR`` and ends with::

    def main(job: Job) -> dict[str, Any]:
        ...
        if job.stop_requested():
            save_checkpoint()
            raise Stopped({"steps": done})
        return {"adapter": str(folder)}

    if __name__ == "__main__":
        run_job(main)

What the function returns becomes the run's result (``succeeded``); `Stopped` makes it ``stopped``; any other exception
``failed``, with the error in the words of `core.errors`. Where the job has several processes (`ranks`), each runs the same function;
only rank 0 reports.
"""

from __future__ import annotations

import contextlib
import math
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn, TypeVar

import msgspec

from .. import fsio, paths
from . import identity, ranks, records
from .failure import describe_error
from .reserve import write_json_reserved
from .spec import ACTIVE, Event, Result, RunSpec, State, effective_request

T = TypeVar("T")

SYNC_SECONDS = 1.0
"""Metric lines that a power cut may take, in seconds: an fsync for every step would slow training down on slow disks."""

PROGRESS_SECONDS = 0.5
PROGRESS_SHARE = 0.005
"""Progress events are at least this many seconds and this share of the time so far apart: an hour makes a thousand, not 7200."""

ALIVE_SECONDS = 5.0
"""Between two signs of life of a job that writes nothing else."""


class Stopped(Exception):
    """Raised by a job's function when it ends early because it was asked to, its checkpoint saved.

    Attributes:
        result: what is known so far; becomes ``result`` of ``result.json``.
    """

    def __init__(self, result: dict[str, Any] | None = None) -> None:
        super().__init__("stopped on request")
        self.result = result or {}


class Job:
    """What a job's function is given: its run, and where to report.

    Attributes:
        dir: the run's directory.
        spec: what is to be done.
        attempt: 1 at first, one more with every ``resume``.
        rank: of this process, where the job has several; none where it is the whole job.
        reports: whether this process writes events and metrics; in the others these calls do nothing.
    """

    def __init__(self, folder: Path) -> None:
        self.dir = folder
        self.spec: RunSpec = records.read_spec(folder)
        state = records.read_state(folder)
        self.attempt = state.attempt
        self.rank = ranks.own_rank(self.spec.run)
        self.reports = not self.rank
        self._request = effective_request(self.spec, state)
        self._signals = 0
        self._began = self._alive = time.monotonic()
        self._progress_time = 0.0
        self._synced = -math.inf
        if self.reports:
            self._events = fsio.JsonlWriter(folder / "events.jsonl")
            self._metrics = fsio.JsonlWriter(folder / "metrics.jsonl")
            self._seq = records.last_seq(folder)

    @property
    def home(self) -> paths.Home:
        """The home directory that the run belongs to."""
        return paths.Home(self.dir.parent.parent)

    @property
    def checkpoints(self) -> Path:
        """Folder of the run's checkpoints; kept from attempt to attempt."""
        return self.dir / "checkpoints"

    def request(self, type: type[T]) -> T:
        """The request as the struct of its kind, for example ``job.request(TrainRequest)``."""
        return msgspec.convert(self._request, type)

    def event(self, kind: str, message: str, **data: Any) -> None:
        """Append one line to ``events.jsonl``, durably (see `Event` for the kinds used).

        Raises:
            DiskError: it could not be written.
        """
        self._append_event(kind, message, data, sync=True)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Report how far the job is; calls that come too soon after the last are left out, but for the last of all."""
        now = time.monotonic()
        pause = max(PROGRESS_SECONDS, PROGRESS_SHARE * (now - self._began))
        if done < total and now - self._progress_time < pause:
            return
        self._progress_time = now
        self._append_event("progress", f"{done} of {total} {unit}", {"done": done, "total": total, "unit": unit}, sync=False)

    def metric(self, record: dict[str, Any]) -> None:
        """Append one line to ``metrics.jsonl``, durably where the last that was is a second old; ``time`` and ``attempt`` are filled in.

        Raises:
            DiskError: it could not be written.
        """
        if not self.reports:
            return
        now = time.monotonic()
        due = now - self._synced >= SYNC_SECONDS
        self._metrics.append({"time": time.time(), "attempt": self.attempt, **record}, sync=due)
        if due:
            self._synced = now

    def stop_requested(self) -> bool:
        """Whether the job should save what it has and raise `Stopped`; cheap enough to ask at every step.

        Who asks is alive: the time of ``metrics.jsonl`` is renewed now and then, so that an evaluation does not look like a run that
        stands still.
        """
        now = time.monotonic()
        if self.reports and now - self._alive >= ALIVE_SECONDS:
            self._alive = now
            with contextlib.suppress(OSError):
                os.utime(self.dir / "metrics.jsonl")
        return self._signals > 0 or records.is_requested(self.dir, records.STOP)

    def checkpoint_requested(self) -> bool:
        """Whether a checkpoint was asked for since the last call; only the process that reports is told."""
        if not self.reports:
            return False
        try:
            (self.dir / "control" / records.CHECKPOINT).unlink()
        except FileNotFoundError:
            return False
        return True

    def close(self) -> None:
        """Make events and metrics durable."""
        if self.reports:
            self._events.close()
            self._metrics.close()

    def on_signal(self, number: int, _frame: FrameType | None) -> None:
        """SIGINT and SIGTERM ask for a stop; where it is wanted at once, SIGTERM or the second of either interrupts."""
        self._signals += 1
        if (self._signals > 1 or number == signal.SIGTERM) and records.is_requested(self.dir, records.STOP_NOW):
            raise KeyboardInterrupt

    def _append_event(self, kind: str, message: str, data: dict[str, Any], *, sync: bool) -> None:
        if not self.reports:
            return
        self._seq += 1
        self._events.append(Event(seq=self._seq, time=time.time(), kind=kind, message=message, data=data, attempt=self.attempt), sync=sync)


def run_job(function: Callable[[Job], dict[str, Any]]) -> NoReturn:
    """Run ``function`` as the job of the run directory in ``sys.argv[1]``, write ``result.json`` (a rank: its own result) and exit.

    The exit code is 0 (succeeded, stopped), that of the error, or 130 (interrupted, see `Job.on_signal`).
    """
    folder = Path(sys.argv[1])
    if (state := records.read_state(folder).state) not in ACTIVE:  # whoever started us was killed at once, and nobody saw us yet
        sys.exit(f"error: run {folder.name} is {state}: its job does not start any more")
    job = Job(folder)
    result_file = job.dir / "result.json"
    if job.rank is not None:
        result_file = ranks.result_file(job.dir, job.rank)
        identity.die_with_parent()
    signal.signal(signal.SIGINT, job.on_signal)
    signal.signal(signal.SIGTERM, job.on_signal)
    outcome = _outcome(job, function)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    job.close()
    if outcome.error is not None:
        who = "" if job.rank is None else f"rank {job.rank}: "
        with contextlib.suppress(OSError):
            print(f"{who}error: {outcome.error['message']}", f"hint: {outcome.error['hint']}", sep="\n", file=sys.stderr, flush=True)
    write_json_reserved(result_file, outcome, job.dir)
    sys.exit(outcome.exit_code)


def _outcome(job: Job, function: Callable[[Job], dict[str, Any]]) -> Result:
    state: State = "succeeded"
    code, result, error, reason = 0, {}, None, ""
    try:
        result = function(job)
        msgspec.json.encode(result)
    except Stopped as stop:
        state, result = "stopped", stop.result
    except KeyboardInterrupt:
        state, code, reason = "stopped", 130, f"interrupted; {records.last_checkpoint(job.dir)}"
    except Exception as problem:
        known = describe_error(problem)
        if known is not problem:
            with contextlib.suppress(OSError):
                traceback.print_exc()
        state, code, error, result = "failed", known.exit_code, known.to_dict(), {}  # what it returned may be what cannot be written
    return Result(
        state=state, attempt=job.attempt, finished=time.time(), exit_code=code, result=result, error=error, reason=reason
    )  # fmt: skip
