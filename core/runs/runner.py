"""The runner of a home's queue: ``python -m finetui.core.runs.runner HOME``. It starts what can start, and leaves when nothing waits.

A process and session of its own, started on demand by `queue.serve` and elected by an flock. It keeps nothing in memory that
matters: killed, it is started again by whoever looks next, and goes on from ``queue.json``.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from pathlib import Path

from .. import errors, fsio
from ..paths import Home
from . import leases, records
from .control import stop_unstarted
from .launch import fail_unstarted, start_supervisor
from .leases import Lease
from .placing import Shortage, place
from .queue import Queue, Waiting, runner_lock
from .spec import host_name

POLL_SECONDS = 1.0
"""Between two looks at the devices; a change of the queue is noticed at once."""

_NOTICE_SECONDS = 0.1


class Runner:
    """The elected runner.

    Args:
        elected: the lock, held.
    """

    def __init__(self, home: Home, elected: fsio.FileLock) -> None:
        self.home = home
        self.queue = Queue(home)
        self._elected = elected

    def run(self) -> None:
        """Serve the queue until nothing waits here, or it is paused."""
        while not self.leave():
            stamp = self._stamp()
            self.look()
            deadline = time.monotonic() + POLL_SECONDS
            while time.monotonic() < deadline and self._stamp() == stamp:
                time.sleep(_NOTICE_SECONDS)

    def leave(self) -> bool:
        """Step down if there is nothing to do; nobody can add an entry between the decision and that."""
        with self.queue.tidied(host_name()) as idle:
            if idle:
                self._elected.release()
            return idle

    def look(self) -> None:
        """Start every entry that can start now; one that waits keeps those after it off the devices that it waits for."""
        claimed: set[str] = set()
        for waiting in self.queue.waiting():
            if waiting.entry.host != host_name():
                continue
            reason = self.start(waiting, claimed)
            if reason:
                claimed.update(waiting.entry.wants.devices)
                self.note(waiting, reason)

    def start(self, waiting: Waiting, claimed: set[str]) -> str:
        """Start one entry; returns what it waits for if that cannot be done now."""
        run, entry = waiting.run, waiting.entry
        if records.is_requested(run.dir, records.STOP):
            stop_unstarted(run.dir)
            return ""
        try:
            placed = self._place(waiting, claimed)
            if isinstance(placed, Shortage):
                return f"waiting for {placed.reason}"
            try:
                start_supervisor(run, entry.mode, placed)
            finally:
                placed.release()
        except errors.Refused as problem:  # somebody else started or stopped it, or what it left behind is still alive
            return problem.message
        except (errors.FineTUIError, OSError) as problem:
            self._say(f"{run.id} ({run.spec.name}) cannot be started: {problem}")
            fail_unstarted(run, problem)
            return ""
        self._say(f"started {run.id} ({run.spec.name}) on {', '.join(placed.devices)}")
        return ""

    def note(self, waiting: Waiting, reason: str) -> None:
        """Write down what a run waits for; a full disk keeps the last reason."""
        if waiting.reason == reason:
            return
        with contextlib.suppress(errors.DiskError), records.unsupervised(waiting.run.dir, "queued") as state:
            if state is not None:
                records.change_state(waiting.run.dir, state, "queued", reason)

    def _place(self, waiting: Waiting, claimed: set[str]) -> Lease | Shortage:
        wants, by = waiting.entry.wants, leases.holder(f"run {waiting.run.id} ({waiting.run.spec.name})")
        if wants.devices != ["cpu"]:
            return place(wants, by, claimed)
        lock = fsio.FileLock(self.home.root / f".queue-cpu-{host_name()}.lock")  # one queued run at a time, per home
        if "cpu" in claimed or not lock.acquire():
            return Shortage("the CPU: queued runs take turns")
        return Lease(["cpu"], [lock.fd])

    def _stamp(self) -> int:
        try:
            return self.home.queue.stat().st_mtime_ns
        except OSError:
            return -1

    @staticmethod
    def _say(text: str) -> None:
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


def main() -> None:
    """Fork once, so that who starts us can wait for us; serve if elected."""
    if os.fork() > 0:
        os._exit(0)
    os.setsid()
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    home = Home(Path(sys.argv[1]))
    elected = fsio.FileLock(runner_lock(home))
    if elected.acquire():
        Runner(home, elected).run()


if __name__ == "__main__":
    main()
