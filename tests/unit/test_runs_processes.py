"""Who is who among processes, GPU leases, the stop ladder, and the words for a job's errors."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from finetui.core.errors import DataError, DiskError, OutOfMemory, WorkFailed
from finetui.core.fsio import is_locked
from finetui.core.runs import ladder, leases, records
from finetui.core.runs.failure import describe_error
from finetui.core.runs.identity import TAG, find_job, find_tagged, identify, is_alive, signal_process, wait_for_end
from finetui.core.runs.records import drop_superseded
from finetui.core.runs.verdict import judge
from support.runs import python, until

SLEEP = "import time; time.sleep(60)"
ME = leases.holder("a test", os.getpid())


def test_identity_of_a_live_process_and_of_a_zombie() -> None:
    child = subprocess.Popen([sys.executable, "-c", SLEEP])
    identity = identify(child.pid)
    assert identity is not None and is_alive(identity) and not wait_for_end(identity, 0.01)
    assert signal_process(identity, signal.SIGKILL)
    assert wait_for_end(identity, 10), "a zombie counts as dead"
    assert not is_alive(identity) and identify(child.pid) is None and not signal_process(identity, signal.SIGKILL)
    child.wait()
    assert identify(child.pid) is None


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_process_lives_until_its_last_thread_has_ended(tmp_path: Path) -> None:
    """Killed, its threads end one by one, and the last of them lets go of its locks."""
    code = """
import ctypes, fcntl, sys, threading, time
file = open(sys.argv[1], "w")
fcntl.flock(file, fcntl.LOCK_EX)
threading.Thread(target=time.sleep, args=(600,)).start()
ctypes.CDLL(None).pthread_exit(None)
"""
    child = python(code, str(tmp_path / "lock"))
    status = Path(f"/proc/{child.pid}/status")
    until(lambda: "zombie" in status.read_text(), 30, "the end of its first thread")
    identity = identify(child.pid)
    assert is_alive(identity) and is_locked(tmp_path / "lock")
    assert signal_process(identity, signal.SIGKILL)
    assert identity is not None and wait_for_end(identity, 10)
    assert not is_locked(tmp_path / "lock")
    child.communicate()


def test_same_pid_is_not_the_same_process() -> None:
    me = identify(os.getpid())
    assert me is not None and is_alive(me)
    for change in ({"start_time": me.start_time - 1}, {"boot_id": "another"}, {"host": "another"}):
        other = msgspec.structs.replace(me, **change)
        assert not is_alive(other) and not signal_process(other, signal.SIGKILL)
    assert not is_alive(None)


def test_tagged_processes_are_found_oldest_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(TAG, "01TESTTAG")
    children = [python(SLEEP) for _ in range(2)]
    monkeypatch.setenv(TAG, "01TESTTAG-ANOTHER")
    children.append(python(SLEEP))
    try:
        until(lambda: len(find_tagged("01TESTTAG")) == 2)
        found = find_tagged("01TESTTAG")
        assert {process.pid for process in found} == {child.pid for child in children[:2]}
        assert find_job("01TESTTAG", None) == found[0] and find_job("01TESTTAG", found[1]) == found[1]
    finally:
        for child in children:
            child.kill()
            child.communicate()
    assert find_tagged("01TESTTAG") == [] and find_job("01TESTTAG", found[1]) is None


def test_gpu_is_leased_once_and_as_long_as_the_job_lives(tmp_path: Path) -> None:
    """The lock survives the process that took it, because the job has inherited the descriptor."""
    lease = leases.acquire(["GPU-b", "GPU-a"], ME)
    assert lease is not None and lease.environment == {"CUDA_VISIBLE_DEVICES": "GPU-b,GPU-a"}
    assert leases.acquire(["GPU-a"], ME) is None and leases.acquire(["GPU-c", "GPU-b"], ME) is None
    assert leases.alone("GPU-a") == ME and leases.alone("GPU-c") is None
    assert not is_locked(tmp_path / "locks" / "gpu-GPU-c.lock"), "all of them or none"
    job = subprocess.Popen([sys.executable, "-c", SLEEP], pass_fds=lease.descriptors)
    lease.release()
    try:
        assert leases.acquire(["GPU-a"], ME) is None
    finally:
        job.kill()
        job.wait()
    again = until(lambda: leases.acquire(["GPU-a", "GPU-b"], ME))
    again.release()


def test_lease_files_are_everyone_s(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        lease = leases.acquire(["GPU-x"], ME)
    finally:
        os.umask(before)
    assert lease is not None
    lease.release()
    folder = tmp_path / "locks"
    assert (folder / "gpu-GPU-x.lock").stat().st_mode & 0o777 == 0o666 and folder.stat().st_mode & 0o7777 == 0o1777


GB = 10**9


def test_sharers_reserve_what_they_will_use(tmp_path: Path) -> None:
    """One who is still loading has used nothing yet, and is counted all the same."""
    share = lambda memory, free: leases.acquire_shared("GPU-s", ME, memory, free=free, total=80 * GB)  # noqa: E731
    first = share(30 * GB, 80 * GB)
    assert first is not None and [sharer.reserved for sharer in leases.sharers("GPU-s")] == [30 * GB]
    assert leases.room("GPU-s", free=80 * GB, total=80 * GB) == 50 * GB
    assert share(51 * GB, 80 * GB) is None, "reserved though not used"
    assert share(40 * GB, 39 * GB) is None, "used by somebody else"
    second = share(50 * GB, 80 * GB)
    assert second is not None and share(1, 80 * GB) is None
    assert leases.acquire(["GPU-s"], ME) is None and leases.alone("GPU-s") is None, "alone and shared never mix"
    first.release()
    third = share(30 * GB, 80 * GB)
    assert third is not None, "what a sharer leaves is room again"
    second.release()
    third.release()
    whole = leases.acquire(["GPU-s"], ME)
    assert whole is not None and share(1, 80 * GB) is None and leases.sharers("GPU-s") == []
    whole.release()


def test_a_gpu_has_a_limited_number_of_sharers() -> None:
    held = [leases.acquire_shared("GPU-m", ME, 0, free=GB, total=GB) for _ in range(leases.MOST_SHARERS)]
    assert all(held) and leases.acquire_shared("GPU-m", ME, 0, free=GB, total=GB) is None
    for lease in held:
        assert lease is not None
        lease.release()


def test_ladder_asks_then_tells_then_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(ladder.time, "monotonic", lambda: now)
    (tmp_path / "control").mkdir()
    sent: list[str] = []
    steps = ladder.Ladder(tmp_path, lambda number: sent.append(number.name))
    assert not steps.advance() and not steps.requested
    records.request(tmp_path, records.STOP)
    assert steps.advance() and not steps.advance() and steps.requested and sent == []
    for seconds in (11, 151, 1799):
        now = 100.0 + seconds
        steps.advance()
        assert sent == ["SIGINT"], "a large checkpoint takes its time"
    for seconds, expected in ((0, ["SIGINT"] * 2), (3, ["SIGINT"] * 2 + ["SIGTERM"]), (7, ["SIGINT"] * 2 + ["SIGTERM", "SIGKILL"])):
        now = 1900.0 + seconds
        steps.advance()
        assert sent == expected
    assert [number.name for number in steps.sent] == sent


@pytest.mark.parametrize(
    ("code", "sent", "state", "words"),
    [
        (-signal.SIGKILL, [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], "stopped", "SIGKILL; last checkpoint: step 12"),
        (-signal.SIGSEGV, [signal.SIGINT], "failed", "SIGSEGV"),
        (-signal.SIGKILL, [signal.SIGINT], "failed", "memory"),
        (9, [], "failed", "exit code 9"),
        (1, [signal.SIGINT], "stopped", "SIGINT"),
        (None, [], "stopped", "on request"),
    ],
)
def test_a_crash_after_a_stop_request_is_a_crash(
    tmp_path: Path, code: int | None, sent: list[signal.Signals], state: str, words: str
) -> None:
    (tmp_path / "checkpoints" / "step-00000012").mkdir(parents=True)
    (tmp_path / "checkpoints" / "step-00000007").mkdir()
    (tmp_path / "checkpoints" / ".damaged-step-00000020").mkdir()
    asked = ladder.Ladder(tmp_path, lambda number: None)
    asked.requested, asked.sent = True, sent
    end = judge(tmp_path, 1, code, asked, out_of_memory=True)
    assert end.state == state and words in end.reason


def test_ladder_goes_faster_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(ladder.time, "monotonic", lambda: now)
    (tmp_path / "control").mkdir()
    sent: list[str] = []
    steps = ladder.Ladder(tmp_path, lambda number: sent.append(number.name))
    records.request(tmp_path, records.STOP)
    steps.advance()
    now = 105.0
    records.request(tmp_path, records.STOP_NOW)
    steps.advance()
    assert sent == ["SIGINT"]
    now = 112.0
    steps.advance()
    assert sent == ["SIGINT", "SIGTERM", "SIGKILL"]


def test_an_evaluation_made_up_for_does_not_drop_the_step_before_it() -> None:
    first = [{"attempt": 1, "step": step, "loss": 1.0} for step in (1, 2, 3)]
    made_up = [{"attempt": 2, "step": 3, "eval_loss": 1.0}, {"attempt": 2, "step": 4, "loss": 1.0}]
    again = [{"attempt": 2, "step": 3, "loss": 1.0}]
    assert drop_superseded([*first, *made_up]) == [*first, *made_up]
    assert drop_superseded([*first, *again]) == [*first[:2], *again]


class OutOfMemoryError(RuntimeError):
    """Named as torch names its own."""


@pytest.mark.parametrize(
    ("problem", "kind", "words"),
    [
        (DataError("a.jsonl:3: bad", "fix it"), DataError, "a.jsonl:3: bad"),
        (MemoryError(), OutOfMemory, "out of memory"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB\nmore"), OutOfMemory, "Tried to allocate 2 GiB"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried 9 bytes"), OutOfMemory, "9 bytes"),
        (OSError(errno.ENOSPC, "No space left on device", "/x/y"), DiskError, "/x/y"),
        (RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)"), DiskError, "disk is full"),
        (KeyError("q_proj"), WorkFailed, "KeyError: 'q_proj'"),
        (AssertionError(), WorkFailed, "AssertionError"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), WorkFailed, "Permission denied"),
    ],
)
def test_words_for_errors(problem: BaseException, kind: type, words: str) -> None:
    known = describe_error(problem)
    assert type(known) is kind and words in known.message and "\n" not in known.message and known.hint
