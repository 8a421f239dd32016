"""How a run ended: from the job's own ``result.json`` if it wrote one, else from how its process ended."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from .. import errors
from . import console, records
from .failure import LESS_MEMORY
from .ladder import Ladder
from .spec import Result

EndState = Literal["succeeded", "stopped", "failed", "lost"]


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of an attempt, as it goes into ``state.json``."""

    state: EndState
    reason: str = ""
    exit_code: int | None = None
    error: dict[str, str] | None = None


def memory_kills() -> int:
    """How often the kernel's out-of-memory killer has struck on this machine since it booted, control groups included (Linux)."""
    try:
        rows = Path("/proc/vmstat").read_text().splitlines()
    except OSError:
        return 0
    return next((int(row.split()[1]) for row in rows if row.startswith("oom_kill ")), 0)


def judge(folder: Path, attempt: int, code: int | None, ladder: Ladder, *, out_of_memory: bool) -> Verdict:
    """The end of an attempt whose job is gone.

    Args:
        code: exit code of the job, negative the signal that killed it; ``None`` when it was not our child (adopted).
        ladder: whether it was asked to stop, and how hard.
        out_of_memory: whether the kernel killed something for want of memory while the job ran.
    """
    try:
        result = records.read_result(folder, attempt)
    except errors.CorruptFile:
        result = None
    if result is not None:
        return from_result(result)
    if _ended_on_request(code, ladder):
        how = f"ended by {ladder.sent[-1].name}" if ladder.sent else "ended on request"
        return Verdict("stopped", f"{how}; {records.last_checkpoint(folder)}", code)
    error = _unexplained(folder, code, out_of_memory)
    return Verdict("failed", error.message.splitlines()[0], code, error.to_dict())


def _ended_on_request(code: int | None, ladder: Ladder) -> bool:
    """Whether a job without a result ended because it was told to; one that crashes meanwhile has failed all the same."""
    if code is None:
        return ladder.requested
    return -code in ladder.sent if code < 0 else bool(ladder.sent)


def from_result(result: Result) -> Verdict:
    """What the job said itself."""
    reason = result.error["message"].splitlines()[0] if result.error and result.error["message"] else ""
    return Verdict(cast(EndState, result.state), reason or result.reason, result.exit_code, result.error)


def _unexplained(folder: Path, code: int | None, out_of_memory: bool) -> errors.FineTUIError:
    """The error of a job that left no result: what the system says, and the last lines it printed."""
    if code == -signal.SIGKILL and out_of_memory:
        return errors.OutOfMemory(
            "the machine's memory, or this session's share of it, was used up: the kernel killed the job",
            LESS_MEMORY,
        )
    if code is None:
        what = "the job ended without a result after its supervisor had died"
    elif code >= 0:
        what = f"the job ended with exit code {code} and no result"
    else:
        what = f"the job was killed by {signal.Signals(-code).name}"
    tail = console.tail(folder)
    return errors.WorkFailed(f"{what}; it last printed:\n{tail}" if tail else what, f"see {folder}/console.log")
