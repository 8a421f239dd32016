"""The queue of a home: which runs wait for a device, in which order. One small file, ``queue.json``, replaced under an flock.

A run's own directory stays the truth about what it wants and where it stands: an entry counts only while its run is ``queued``.
`runner` starts what can start; `serve` starts the runner. See docs/design/queue.md.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from .. import errors, fsio
from ..paths import Home
from . import records
from .identity import TAG
from .leases import Wants
from .spec import host_name
from .store import Run

Mode = Literal["start", "resume"]

MOVES = ("top", "up", "down", "bottom")
"""Where an entry can be moved to, besides a position."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """A run that waits.

    Attributes:
        priority: those with more come first.
        mode: whether the run begins, or goes on from its last checkpoint.
        wants: devices and memory.
        host: whose devices they are; a home may lie on a shared file system.
    """

    run: str
    priority: int = 0
    mode: Mode = "start"
    wants: Wants
    host: str = msgspec.field(default_factory=host_name)


class QueueFile(msgspec.Struct, kw_only=True):
    """``queue.json``: the entries in the order in which they are served."""

    paused: bool = False
    entries: list[Entry] = []


@dataclass(frozen=True)
class Waiting:
    """An entry that counts.

    Attributes:
        position: from 1.
        reason: what it waits for.
    """

    position: int
    entry: Entry
    run: Run
    reason: str


class Queue:
    """The queue of one home; every change is one atomic replacement of its file."""

    def __init__(self, home: Home) -> None:
        self.home = home

    @property
    def paused(self) -> bool:
        """Whether nothing is started."""
        return self._read().paused

    def waiting(self) -> list[Waiting]:
        """The entries that count, in order."""
        found: list[Waiting] = []
        for entry in self._read().entries:
            folder = self.home.runs / entry.run
            try:
                run = Run(folder, records.read_spec(folder))
                state = run.state()
            except (OSError, errors.CorruptFile):  # removed meanwhile
                continue
            if state.state == "queued":
                found.append(Waiting(len(found) + 1, entry, run, state.reason))
        return found

    def find(self, run_id: str) -> Waiting | None:
        """A run's place in the queue."""
        return next((waiting for waiting in self.waiting() if waiting.run.id == run_id), None)

    def ahead(self, run_id: str, priority: int) -> list[Entry]:
        """The entries that a run with this priority comes after, or would come after."""
        entries = [waiting.entry for waiting in self.waiting()]
        known = next((number for number, entry in enumerate(entries) if entry.run == run_id), None)
        return entries[: _place(entries, priority) if known is None else known]

    def objection(self, run: Run, wants: Wants, priority: int) -> str:
        """Why a run may not take free devices now although it is not in the queue yet; empty when it may."""
        content = self._read()
        if content.paused:
            return "the queue is paused"
        wanted = set(wants.devices)
        if any(wanted.intersection(entry.wants.devices) for entry in self.ahead(run.id, priority)):
            return "waiting for its turn: runs before it in the queue want the same GPU"
        return ""

    def add(self, run: Run, wants: Wants, reason: str, *, mode: Mode = "start", priority: int = 0) -> None:
        """Let a run wait; one that waits already keeps its place.

        Raises:
            Refused: it is under way, or has ended and is not to be resumed.
            DiskError: it could not be written.
        """
        entry = Entry(run=run.id, priority=priority, mode=mode, wants=wants)
        allowed = ("queued",) if mode == "start" else ("queued", "stopped", "failed", "lost")
        with self._locked() as content, records.unsupervised(run.dir, *allowed) as state:
            if state is None:
                raise errors.Refused(f"run {run.id} is {run.state().state} and cannot be queued")
            if state.state != "queued":  # an entry that is left has been served
                content.entries = [known for known in content.entries if known.run != run.id]
            if all(known.run != run.id for known in content.entries):
                content.entries.insert(_place(content.entries, priority), entry)
                fsio.write_json(self.home.queue, content)
            if state.state != "queued":
                records.clear_requests(run.dir)
            if (state.state, state.reason) != ("queued", reason):
                records.change_state(run.dir, state, "queued", reason, finished=None, error=None, exit_code=None)

    def move(self, run_id: str, where: str) -> None:
        """Move a run to another place of the queue, whatever its priority.

        Args:
            where: one of `MOVES`, or a position counted from 1.

        Raises:
            NotFound: it does not wait.
            UsageError: no such place.
        """
        with self._locked() as content:
            content.entries = entries = [waiting.entry for waiting in self.waiting()]
            index = next((number for number, entry in enumerate(entries) if entry.run == run_id), None)
            if index is None:
                raise errors.NotFound(f"run {run_id} does not wait in the queue", "see `finetui queue list`")
            target = _target(where, index, len(entries))
            entries.insert(target, entries.pop(index))
            fsio.write_json(self.home.queue, content)

    def pause(self) -> None:
        """Start nothing from now on; what runs goes on."""
        self._set_paused(True)

    def unpause(self) -> None:
        """Start again what can start."""
        self._set_paused(False)
        serve(self.home)

    def _set_paused(self, paused: bool) -> None:
        with self._locked() as content:
            content.paused = paused
            fsio.write_json(self.home.queue, content)

    @contextlib.contextmanager
    def tidied(self, host: str) -> Iterator[bool]:
        """Drop entries that count no more; the body is told whether ``host`` has nothing to start, and nobody adds any meanwhile."""
        with self._locked() as content:
            kept = [waiting.entry for waiting in self.waiting()]
            if kept != content.entries:
                content.entries = kept
                fsio.write_json(self.home.queue, content)
            yield content.paused or all(entry.host != host for entry in kept)

    @contextlib.contextmanager
    def _locked(self) -> Iterator[QueueFile]:
        lock = fsio.FileLock(self.home.root / ".queue.lock")
        lock.acquire(blocking=True)
        try:
            yield self._read()
        finally:
            lock.release()

    def _read(self) -> QueueFile:
        try:
            return fsio.read_json(self.home.queue, QueueFile)
        except FileNotFoundError:
            return QueueFile()
        except errors.CorruptFile as problem:
            raise errors.CorruptFile(problem.message, "remove it: the runs in it stay, and can be stopped and resumed") from None


def _place(entries: list[Entry], priority: int) -> int:
    """Index of a new entry: after the last one with as much priority."""
    return next((number + 1 for number in reversed(range(len(entries))) if entries[number].priority >= priority), 0)


def _target(where: str, index: int, count: int) -> int:
    named = {"top": 0, "up": index - 1, "down": index + 1, "bottom": count - 1}
    if where not in named and not where.isdecimal():
        raise errors.UsageError(f"'{where}' is no place in the queue", f"{', '.join(MOVES)}, or a position from 1 to {count}")
    return min(max(named[where] if where in named else int(where) - 1, 0), count - 1)


def runner_lock(home: Home) -> Path:
    """The file that the queue's runner on this machine holds an flock on."""
    return home.root / f".queue-runner-{host_name()}.lock"


def serve(home: Home) -> None:
    """Make sure that someone looks after the queue: start its runner where something waits and none runs.

    Raises:
        DiskError: its log cannot be written.
    """
    queue = Queue(home)
    here = host_name()
    if not home.queue.exists() or queue.paused or fsio.is_locked(runner_lock(home)):
        return
    if any(waiting.entry.host == here for waiting in queue.waiting()):
        _start_runner(home)


def _start_runner(home: Home) -> None:
    """Start the runner, detached; it forks once, so that no zombie is left here. Of several one is elected, the others leave."""
    import subprocess

    environment = {name: value for name, value in os.environ.items() if name != TAG}
    with fsio.disk_errors(home.queue_log), open(home.queue_log, "ab") as log:
        subprocess.Popen(
            [sys.executable, "-P", "-m", "finetui.core.runs.runner", str(home.root)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, env=environment,
        ).wait()  # fmt: skip


def describe(waiting: Waiting, paused: bool) -> dict[str, Any]:
    """A row of ``queue list``."""
    entry, spec = waiting.entry, waiting.run.spec
    return {
        "position": waiting.position, "run": spec.run, "name": spec.name, "kind": spec.kind, "method": spec.request.get("method"),
        "priority": entry.priority, "mode": entry.mode, "gpus": spec.request.get("gpus", "none"), "share_gpu": entry.wants.share,
        "planned_memory_bytes": entry.wants.memory or None, "reason": "the queue is paused" if paused else waiting.reason, "paused": paused,
        "host": entry.host, "parent": spec.parent or None,
    }  # fmt: skip
