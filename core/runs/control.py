"""Requests to a run, each an empty file in its ``control`` folder, where its supervisor and its job look."""

from __future__ import annotations

from pathlib import Path

from .. import errors
from . import records
from .adopt import refresh
from .spec import ACTIVE
from .store import Run


def stop(run: Run, now: bool = False) -> None:
    """Ask a run to stop after a checkpoint, or with ``now`` without waiting for one; returns at once.

    What the supervisor does about it, and how long it waits, is in `ladder`.

    Raises:
        Refused: the run has ended already.
        DiskError: the request could not be left.
    """
    _require_active(run, "stopped")
    if stop_unstarted(run.dir):
        return
    records.request(run.dir, records.STOP)
    if now:
        records.request(run.dir, records.STOP_NOW)


def checkpoint_now(run: Run) -> None:
    """Ask a training run for a checkpoint after its current step.

    Raises:
        Refused: the run has ended already.
        DiskError: the request could not be left.
    """
    _require_active(run, "checkpointed")
    records.request(run.dir, records.CHECKPOINT)


def _require_active(run: Run, what: str) -> None:
    state = refresh(run)
    if state.state not in ACTIVE:
        raise errors.Refused(f"run {run.id} has ended ({state.state}) and cannot be {what}", "`finetui runs list` shows what is active")


def stop_unstarted(folder: Path) -> bool:
    """A queued run that nobody supervises has no one to ask: it is marked here, and so leaves the queue. Returns whether it was one."""
    with records.unsupervised(folder, "queued") as state:
        if state is None:
            return False
        records.change_state(folder, state, "stopped", "stopped before it started")
        return True
