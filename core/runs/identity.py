"""Processes that cannot be mistaken for others: host + pid + start time + boot id, and the tag that a run's processes carry.

On Linux everything comes from ``/proc``; elsewhere psutil answers, whose start times move with the clock.
"""

from __future__ import annotations

import contextlib
import functools
import os
import select
import signal
import sys
import time
from pathlib import Path

from .spec import ProcessIdentity, host_name

TAG = "FINETUI_RUN"
"""Environment variable that holds the run's id in its job and all that the job starts."""

LINUX = sys.platform.startswith("linux")

_PR_SET_PDEATHSIG = 1


@functools.cache
def boot_id() -> str:
    """What changes when this machine boots."""
    if LINUX:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    import psutil

    return str(int(psutil.boot_time()))


def identify(pid: int) -> ProcessIdentity | None:
    """The identity of a live process; ``None`` when there is none with this pid (a zombie is dead)."""
    started = _start_time(pid)
    return None if started is None else ProcessIdentity(host=host_name(), pid=pid, start_time=started, boot_id=boot_id())


def is_alive(identity: ProcessIdentity | None) -> bool:
    """Whether exactly this process still runs here."""
    if identity is None or identity.host != host_name() or identity.boot_id != boot_id():
        return False
    return _start_time(identity.pid) == identity.start_time


def signal_process(identity: ProcessIdentity | None, number: signal.Signals) -> bool:
    """Send a signal to exactly this process, through a pidfd where there is one; returns whether it was there."""
    if identity is None or not is_alive(identity):
        return False
    with contextlib.suppress(ProcessLookupError):
        if not hasattr(os, "pidfd_open"):
            os.kill(identity.pid, number)
            return True
        descriptor = os.pidfd_open(identity.pid)
        try:
            if is_alive(identity):  # the descriptor names a process now; was it still ours when it was opened?
                signal.pidfd_send_signal(descriptor, number)
                return True
        finally:
            os.close(descriptor)
    return False


def wait_for_end(identity: ProcessIdentity, seconds: float) -> bool:
    """Wait at most ``seconds`` for a process, a child or not, to end; returns whether it has."""
    if not is_alive(identity):
        return True
    if not hasattr(os, "pidfd_open"):
        time.sleep(seconds)
        return not is_alive(identity)
    try:
        descriptor = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return True
    try:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        poll.poll(seconds * 1000)
    finally:
        os.close(descriptor)
    return not is_alive(identity)


def die_with_parent() -> None:
    """Have this process killed when the one that started it ends, in whatever way (Linux)."""
    if LINUX:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)


def find_tagged(run: str) -> list[ProcessIdentity]:
    """Live processes of this user that carry the tag of ``run``, oldest first."""
    found = [identify(pid) for pid in _tagged_pids(run)]
    return sorted((process for process in found if process is not None), key=lambda process: process.start_time)


def run_of(pid: int) -> str:
    """The run whose tag a process carries; empty where it carries none, is another user's, or is gone."""
    if not LINUX:
        import psutil

        with contextlib.suppress(psutil.Error):
            return psutil.Process(pid).environ().get(TAG, "")
        return ""
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0"):
            if entry.startswith(f"{TAG}=".encode()):
                return entry.partition(b"=")[2].decode(errors="replace")
    return ""


def find_job(run: str, known: ProcessIdentity | None) -> ProcessIdentity | None:
    """The live job of ``run``: the process that its state names; where it names none yet, the oldest tagged one."""
    if known is not None:
        return known if is_alive(known) else None
    return next(iter(find_tagged(run)), None)


def _tagged_pids(run: str) -> list[int]:
    if LINUX:
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
    else:
        import psutil

        pids = psutil.pids()
    return [pid for pid in pids if run_of(pid) == run]


def _start_time(pid: int) -> int | None:
    """Start of a process in clock ticks since boot; ``None`` when it is gone or a zombie."""
    if not LINUX:
        return _start_time_by_psutil(pid)
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(b")") + 2 :].split()  # the name before it may hold blanks and brackets
    # Of a process with threads the first becomes a zombie before the others have let go of its files, and so of its locks.
    dead = fields[0] in (b"Z", b"X") and int(fields[17]) <= 1
    return None if dead else int(fields[19])


def _start_time_by_psutil(pid: int) -> int | None:
    import psutil

    try:
        process = psutil.Process(pid)
        return None if process.status() == psutil.STATUS_ZOMBIE else int(process.create_time() * 100)
    except psutil.Error:
        return None
