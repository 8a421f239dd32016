"""Finding out whether what a run's state says is still true: there is no daemon, so whoever looks next takes care.

A run whose lock is held is looked after. One whose lock is free although its state is active has lost its supervisor:
if the job lives, a new supervisor adopts it; else it is marked with how it ended, or as ``lost``.
"""

from __future__ import annotations

import contextlib
import signal

from .. import errors, fsio
from . import identity, notify, records, verdict
from .launch import start_supervisor
from .queue import serve
from .spec import ACTIVE, RunState, host_name
from .store import Run, RunStore


def refresh(run: Run) -> RunState:
    """The run's state, made true first. A run of another machine is left to that machine.

    On a full disk the truth is returned although it cannot be written down; the next look tries again.
    """
    state = run.state()
    if state.state == "queued":
        with contextlib.suppress(errors.FineTUIError):  # the queue cannot be read or served now; the next look tries again
            serve(run.home)
        return run.state()
    if state.state not in ACTIVE or run.spec.host != host_name() or fsio.is_locked(records.lock_file(run.dir)):
        return state
    if identity.find_job(run.id, state.job) is not None:
        with contextlib.suppress(errors.Refused):  # someone else adopted it in between, or it ended
            start_supervisor(run, "adopt")
        state = run.state()
        if fsio.is_locked(records.lock_file(run.dir)) or state.state not in ACTIVE:
            return state
    return _mark_dead(run)


def refresh_all(store: RunStore) -> None:
    """`refresh` every run of a home; called when the screen or a command that lists runs starts."""
    for run in store.list():
        with contextlib.suppress(errors.FineTUIError, OSError):  # this run keeps its last word; the others matter too
            refresh(run)


def _mark_dead(run: Run) -> RunState:
    """Write down the end of a run that nobody looks after and whose job is gone."""
    lock = fsio.FileLock(records.lock_file(run.dir))
    if not lock.acquire():
        return run.state()
    try:
        state = run.state()
        if state.state not in ACTIVE or identity.find_job(run.id, state.job) is not None:
            return state
        for left in identity.find_tagged(run.id):
            identity.signal_process(left, signal.SIGKILL)
        result = records.read_result(run.dir, state.attempt)
        end = verdict.from_result(result) if result is not None else verdict.Verdict("lost", _why_lost(state))
        with contextlib.suppress(errors.DiskError):
            records.change_state(run.dir, state, end.state, end.reason, exit_code=end.exit_code, error=end.error)
            notify.start(run.dir)
        return state
    finally:
        lock.release()


def _why_lost(state: RunState) -> str:
    process = state.job or state.supervisor
    if process is not None and process.boot_id != identity.boot_id():
        return "the machine was restarted while it ran"
    if state.job is None:
        return "its supervisor was killed before the job started"
    return "supervisor and job are gone, and left no result"
