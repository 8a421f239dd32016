"""Reading a run's JSON files and changing its state: what store, supervisor, adopter and readers share.

Only who holds the run's lock calls `change_state`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from .. import fsio
from ..errors import CorruptFile
from .reserve import write_json_reserved
from .spec import ACTIVE, ProcessIdentity, Result, RunSpec, RunState, State

STOP = "stop"
STOP_NOW = "stop_now"
CHECKPOINT = "checkpoint"

STEP_PREFIX = "step-"
"""A training checkpoint is the folder ``checkpoints/step-NUMBER``."""


def request(folder: Path, name: str) -> None:
    """Leave the request ``name`` (`STOP`, `STOP_NOW` or `CHECKPOINT`) for the run's supervisor and job."""
    path = folder / "control" / name
    with fsio.disk_errors(path):
        path.touch()


def is_requested(folder: Path, name: str) -> bool:
    """Whether a request was left."""
    return (folder / "control" / name).exists()


def lock_file(folder: Path) -> Path:
    """The file that a run's supervisor holds an flock on."""
    return folder / "lock"


def read_spec(folder: Path) -> RunSpec:
    """The run's ``spec.json``."""
    return fsio.read_json(folder / "spec.json", RunSpec)


def read_state(folder: Path) -> RunState:
    """The run's ``state.json``, as last written; of a run whose file is missing or damaged, ``lost`` with that reason.

    Raises:
        FileNotFoundError: the run's folder is gone.
    """
    try:
        return fsio.read_json(folder / "state.json", RunState)
    except (FileNotFoundError, CorruptFile) as problem:
        if not folder.is_dir():
            raise
        return RunState(state="lost", reason=f"its state.json is {'damaged' if isinstance(problem, CorruptFile) else 'missing'}")


def read_result(folder: Path, attempt: int) -> Result | None:
    """What the job of ``attempt`` wrote as its last act, if it came to that and can be read."""
    try:
        result = fsio.read_json(folder / "result.json", Result)
    except (FileNotFoundError, CorruptFile):
        return None
    return result if result.attempt == attempt else None


def change_state(folder: Path, record: RunState, state: State, reason: str = "", **fields: Any) -> None:
    """Set ``record`` to ``state`` with further ``fields``, note it in its history, and write ``state.json``.

    A last state may use the reserved disk space.

    Raises:
        DiskError: it could not be written; ``record`` holds the new values all the same.
    """
    record.state, record.reason = state, reason
    for name, value in fields.items():
        setattr(record, name, value)
    if state not in ACTIVE:
        record.finished = time.time()
    record.history.append({"state": state, "time": time.time(), "reason": reason})
    write = fsio.write_json if state in ACTIVE else write_json_reserved
    write(folder / "state.json", record)


@contextlib.contextmanager
def unsupervised(folder: Path, *states: str) -> Iterator[RunState | None]:
    """The state of a run that nobody supervises, with its lock held, to be changed; ``None`` if its lock is taken or its state is
    none of ``states``."""
    lock = fsio.FileLock(lock_file(folder))
    if not lock.acquire():
        yield None
        return
    try:
        state = read_state(folder)
        yield state if state.state in states else None
    finally:
        lock.release()


def last_seq(folder: Path) -> int:
    """The highest number given to an event so far; numbers go on across attempts."""
    return max((int(record.get("seq", 0)) for record in fsio.tail_records(folder / "events.jsonl")), default=0)


def clear_requests(folder: Path) -> None:
    """Forget what the attempt before was asked."""
    for left in (folder / "control").iterdir():
        left.unlink()


def begin_attempt(
    folder: Path, record: RunState, supervisor: ProcessIdentity | None, attempt: int, why: str = "", **fields: Any
) -> None:  # fmt: skip
    """Forget how the last attempt ended (its result is kept as ``result.N.json``) and set the state to ``starting``."""
    if attempt > record.attempt:
        clear_requests(folder)
        if (folder / "result.json").exists():
            (folder / "result.json").rename(folder / f"result.{record.attempt}.json")
    change_state(
        folder, record, "starting", f"attempt {attempt}{why and f', {why}'}" if attempt > 1 else "",
        attempt=attempt, supervisor=supervisor, job=None, devices=[], finished=None, exit_code=None, error=None,
        started=record.started or time.time(), **fields,
    )  # fmt: skip


def drop_superseded(records: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Metric lines without those that a later attempt trained again from an earlier checkpoint.

    An attempt that begins with an evaluation makes up for one that was cut short: the step itself was not trained again.
    """
    kept: list[dict[str, Any]] = []
    attempt = 0
    for record in records:
        number = record.get("attempt", 1)
        if number > attempt:
            attempt, step = number, record.get("step")
            first = None if step is None else step + ("eval_loss" in record)
            while first is not None and kept and kept[-1].get("step", -1) >= first:
                kept.pop()
        kept.append(record)
    return kept


def last_checkpoint(folder: Path) -> str:
    """The newest checkpoint of a run, in words."""
    steps = [int(path.name.removeprefix(STEP_PREFIX)) for path in (folder / "checkpoints").glob(f"{STEP_PREFIX}*")]
    return f"last checkpoint: step {max(steps)}" if steps else "no checkpoint"
