"""The supervisor of one run: ``python -m finetui.core.runs.supervisor RUN_DIR start|resume|adopt READY_FD LEASE``.

A process and session of its own that holds the run's lock while it lives, starts the job on the devices that it was handed (LEASE:
their names and inherited lock files, as JSON), passes stop requests on, and writes down how it ended. Whoever launches a run waits
for its first word, one JSON object written to READY_FD: ``{"ready": pid}`` or ``{"error": {...}}``. So it imports little, and what
it needs later it imports later.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from .. import errors, fsio
from ..environment import COMPUTE_ENVIRONMENT
from . import console, identity, records, reserve, retry, verdict
from .failure import describe_error
from .ladder import Ladder
from .leases import Lease
from .ranks import job_arguments
from .spec import ACTIVE, LEADERS, RunSpec, RunState, State, host_name

if TYPE_CHECKING:
    import subprocess

POLL_SECONDS = 0.2
"""How often requests and the first sign of life are looked for. The job's end is noticed at once."""

SWEEP_SECONDS = 2.0
"""Time that what a job leaves behind is given to end by itself, and again after SIGTERM."""

_PR_SET_CHILD_SUBREAPER = 36


class Supervisor:
    """One run under supervision; the caller holds its lock.

    Args:
        lease: what the job may compute on.
    """

    def __init__(self, folder: Path, lease: Lease) -> None:
        self.folder = folder
        self.spec: RunSpec = records.read_spec(folder)
        self.state: RunState = records.read_state(folder)
        self.process: subprocess.Popen[bytes] | None = None
        self.lease = lease
        self.memory_kills = verdict.memory_kills()
        self.ladder = Ladder(folder, lambda number: identity.signal_process(self.state.job, number))

    def begin(self, mode: str) -> None:
        """Take the run over, or refuse to.

        Raises:
            Refused: the run's state does not allow this mode.
            DiskError: the state could not be written.
        """
        me = identity.identify(os.getpid())
        state = self.state.state
        if self.spec.host != host_name():
            raise errors.Refused(f"run {self.spec.run} belongs to {self.spec.host}", "use finetui there")
        if mode == "adopt":
            job = identity.find_job(self.spec.run, self.state.job)
            if state not in ACTIVE or job is None:
                raise errors.Refused(f"run {self.spec.run} has no live job to adopt")
            self.note(state, "adopted: its supervisor had died", supervisor=me, job=job)
            return
        if state not in (("queued",) if mode == "start" else ("queued", "stopped", "failed", "lost")):
            raise errors.Refused(f"run {self.spec.run} is {state} and cannot be {'started' if mode == 'start' else 'resumed'}")
        if mode == "resume":
            self.sweep()
            if identity.find_tagged(self.spec.run):
                raise errors.Refused(
                    f"processes of run {self.spec.run} are still alive and cannot be ended", "wait for them, then try again"
                )
        attempt = self.state.attempt + (mode == "resume")
        records.begin_attempt(self.folder, self.state, me, attempt)

    def run(self) -> None:
        """Supervise to the end: the run's last state is written when this returns."""
        adopted, tries = self.state.job is not None, 0
        end = self.one_attempt()
        while not adopted and not records.is_requested(self.folder, records.STOP):  # only the dead supervisor had an adopted one's lease
            again = retry.next_try(self.spec, self.state, end, tries)
            if again is None:
                break
            tries += 1
            end = self.try_again(again)
        self.lease.release()
        records.change_state(self.folder, self.state, end.state, end.reason, exit_code=end.exit_code, error=end.error)
        reserve.release(self.folder, whole=True)
        from . import notify

        notify.start(self.folder)

    def one_attempt(self) -> verdict.Verdict:
        """Start the job, unless it is an adopted one, and see it to its end."""
        if self.state.job is None:
            try:
                started = self.start_job()
            except Exception as problem:
                known = describe_error(problem)
                if known is not problem:
                    sys.excepthook(type(problem), problem, problem.__traceback__)
                return verdict.Verdict("failed", known.message, error=known.to_dict())
            if not started:
                return verdict.Verdict("stopped", "stopped before it started")
        self.watch()
        code = self.process.wait() if self.process is not None else None
        self.sweep()
        out_of_memory = verdict.memory_kills() > self.memory_kills
        return verdict.judge(self.folder, self.state.attempt, code, self.ladder, out_of_memory=out_of_memory)

    def try_again(self, again: retry.Retry) -> verdict.Verdict:
        """One more attempt on the same devices."""
        self.process, self.memory_kills = None, verdict.memory_kills()
        me, attempt = self.state.supervisor, self.state.attempt + 1
        try:
            records.begin_attempt(self.folder, self.state, me, attempt, again.reason, overrides=again.overrides)
        except errors.DiskError as problem:
            return verdict.Verdict("failed", problem.message, error=problem.to_dict())
        deadline = time.monotonic() + again.pause
        while time.monotonic() < deadline and not records.is_requested(self.folder, records.STOP):
            time.sleep(POLL_SECONDS)
        return self.one_attempt()

    def start_job(self) -> bool:
        """Start the job process; ``False`` when a stop came first.

        Raises:
            WorkFailed: the process could not be started.
        """
        import subprocess

        reserve.make_reserve(self.folder)
        if records.is_requested(self.folder, records.STOP):
            return False
        command = [sys.executable, "-P", "-m", *job_arguments(self.spec, self.folder, self.lease.devices)]
        environment = {**COMPUTE_ENVIRONMENT, **os.environ, identity.TAG: self.spec.run}
        if self.spec.kind not in LEADERS:
            environment |= self.lease.environment
        try:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, env=environment, pass_fds=self.lease.descriptors, start_new_session=True
            )
        except OSError as problem:
            raise errors.WorkFailed(f"the job could not be started: {problem}") from problem
        job = identity.identify(self.process.pid)
        self.note("starting", job=job, devices=self.lease.devices)
        return True

    def watch(self) -> None:
        """Wait for the job's end, which may not be our child; note its first sign of life and pass requests on."""
        from . import meters
        from .pulse import Pulse

        job, pulse = self.state.job, Pulse(self.folder)
        with meters.recording(self.folder, () if self.spec.kind in LEADERS else self.state.devices):
            while job is not None and not identity.wait_for_end(job, POLL_SECONDS):
                if self.ladder.advance():
                    self.note("stopping", "asked to stop")
                elif self.state.state == "starting" and self.job_has_spoken():
                    self.note("running")
                elif self.state.state == "running" and (reason := pulse.look()) is not None:
                    self.note("running", reason)
                self.reap()
                console.rotate(self.folder)

    def job_has_spoken(self) -> bool:
        """Whether this attempt's job has written an event; its dry run belongs to the start."""
        last = fsio.tail_records(self.folder / "events.jsonl", window=8192)
        return bool(last) and last[-1].get("attempt", 1) == self.state.attempt and last[-1].get("kind") != "dry_run"

    def reap(self) -> None:
        """Collect ended descendants whose parents are gone: as their subreaper this process is their parent."""
        with contextlib.suppress(ChildProcessError):
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if self.process is not None and ended.si_pid == self.process.pid:
                    return
                os.waitpid(ended.si_pid, 0)

    def sweep(self) -> None:
        """End what the job left behind: tagged processes only, asked first."""
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            left = identity.find_tagged(self.spec.run)
            deadline = time.monotonic() + SWEEP_SECONDS
            for process in left:
                if number is not None:
                    identity.signal_process(process, number)
            for process in left:
                identity.wait_for_end(process, max(0.0, deadline - time.monotonic()))
            self.reap()
            if not left:
                return

    def note(self, state: State, reason: str = "", **fields: object) -> None:
        """Change to a state on the way; a full disk must not end the supervision, the next change writes this one too."""
        try:
            records.change_state(self.folder, self.state, state, reason, **fields)
        except errors.DiskError as problem:
            print(f"warning: the state '{state}' could not be written: {problem}", file=sys.stderr, flush=True)


def main() -> None:
    """Fork once, so that the launcher can wait for us and leaves no zombie; then supervise."""
    folder, mode, ready = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    lease = msgspec.json.decode(sys.argv[4], type=Lease)
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    for descriptor in (ready, *lease.descriptors):
        os.set_inheritable(descriptor, False)
    lock = fsio.FileLock(records.lock_file(folder))
    try:
        supervisor = _take_over(folder, mode, lock, lease)
    except errors.FineTUIError as problem:
        _answer(ready, {"error": problem.to_dict()})
        return
    _answer(ready, {"ready": os.getpid()})
    _become_subreaper()
    try:
        supervisor.run()
    finally:
        lock.release()


def _take_over(folder: Path, mode: str, lock: fsio.FileLock, lease: Lease) -> Supervisor:
    """Get the lock, then the signals, then the run."""
    if not lock.acquire():
        raise errors.Refused(f"run {folder.name} is supervised already", f"follow it: finetui runs follow {folder.name}")
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: records.request(folder, records.STOP))
    supervisor = Supervisor(folder, lease)
    supervisor.begin(mode)
    return supervisor


def _become_subreaper() -> None:
    """Adopt orphaned descendants, so that none escapes the sweep (Linux)."""
    if identity.LINUX:
        import ctypes

        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def _answer(descriptor: int, message: dict[str, object]) -> None:
    with contextlib.suppress(BrokenPipeError):  # the launcher is gone: the run goes on
        os.write(descriptor, msgspec.json.encode(message))
    os.close(descriptor)


if __name__ == "__main__":
    main()
