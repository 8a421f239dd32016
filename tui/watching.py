"""What is known of every run and device, read in one thread and posted when it has changed. The thread touches no widget."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from ..core.paths import Home

if TYPE_CHECKING:
    from ..core.devices import Device
    from ..core.runs.follow import Update
    from ..core.runs.store import Run

ACTIVE_SECONDS = 0.5
"""Between two looks while something runs."""
IDLE_SECONDS = 1.0
"""Between two looks while nothing runs: only file times are compared then."""
REFRESH_SECONDS = 2.0
"""Between two checks that active runs are really alive."""
DEVICE_SECONDS = 2.0
"""Between two readings of the devices while something runs."""
_RECENT = 20
"""Lines of metrics that a run's trend and the time left are told from."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """What lists show of one run. Times are seconds since the epoch; ``None`` where not known (yet)."""

    id: str
    kind: str
    name: str
    model: str = ""
    method: str = ""
    state: str = "queued"
    step: int = 0
    total_steps: int | None = None
    unit: str = "steps"
    """What they are: ``bytes`` of a push or a pull."""
    loss: float | None = None
    fallen: float | None = None
    """How much the loss fell over the last lines of metrics."""
    eval_loss: float | None = None
    base_loss: float | None = None
    tokens_per_second: float | None = None
    seconds_left: float | None = None
    created: float = 0.0
    started: float | None = None
    finished: float | None = None
    error: str = ""
    note: str = ""
    result: str = ""
    """Folder of what it made."""
    devices: str = ""
    parent: str = ""
    """The run that started this one."""
    reason: str = ""
    """Why it is in this state: what a queued run waits for."""
    position: int = 0
    """In the queue, from 1; 0: it does not stand there."""
    paused: bool = False
    """Of a queued run: the queue is paused."""
    trouble: str = ""
    """Of a run that goes on: ``stalled`` or ``diverging``."""

    @property
    def active(self) -> bool:
        """Whether something is still to happen."""
        return self.state in ("queued", "starting", "running", "stopping")


class RunsChanged(Message):
    """The rows of all runs, newest first."""

    def __init__(self, rows: tuple[RunRow, ...]) -> None:
        super().__init__()
        self.rows = rows


class RunsUnreadable(Message):
    """Why the runs cannot be read just now; empty once they can be again."""

    def __init__(self, reason: str) -> None:
        super().__init__()
        self.reason = reason


class DevicesChanged(Message):
    """A new reading of the devices."""

    def __init__(self, devices: tuple[Device, ...]) -> None:
        super().__init__()
        self.devices = devices


class Tracker:
    """Folds the updates of one run into its row."""

    def __init__(self, row: RunRow) -> None:
        self.row = row
        self._recent: deque[tuple[float, int, float]] = deque(maxlen=_RECENT)
        self._attempt = 1
        self._diverging = False

    def take(self, update: Update) -> RunRow:
        """The row after an update."""
        from ..core.runs.summary import diverges, trouble

        state = update.state
        self._diverging = diverges(update.events, self._diverging)
        changes: dict[str, Any] = {
            "state": state.state, "started": state.started, "finished": state.finished, "devices": ", ".join(state.devices),
            "reason": state.reason, "trouble": trouble(state, self._diverging),
            "error": (state.error or {}).get("message", "") or (state.reason if state.state in ("lost", "failed") else ""),
        }  # fmt: skip
        for event in update.events:
            if event.kind == "prepared":
                changes["total_steps"] = event.data.get("total_steps")
            elif event.kind == "evaluation":
                changes["eval_loss"] = event.data.get("loss")
            elif event.kind == "progress":
                done, total = event.data.get("done"), event.data.get("total")
                changes |= {"step": done or 0, "total_steps": total or None, "note": event.message, "unit": event.data.get("unit", "steps")}
            elif event.kind in ("saved", "warning"):
                changes["note"] = event.message
        trained = [line for line in update.metrics if line.loss is not None]
        for line in trained[-_RECENT:]:
            if line.attempt != self._attempt:  # the pause before a resume is no training time
                self._recent.clear()
                self._attempt = line.attempt
            self._recent.append((line.time, line.step, line.loss))
        if trained:
            changes |= {"step": trained[-1].step, "loss": trained[-1].loss, "tokens_per_second": trained[-1].tokens_per_second}
        evaluated = [line.eval_loss for line in update.metrics if line.eval_loss is not None]
        if evaluated:
            changes["eval_loss"] = evaluated[-1]
        self.row = replace(self.row, **changes)
        if update.metrics:
            self.row = replace(self.row, **self._trend())
        if not self.row.active:
            self.row = replace(self.row, seconds_left=None)
        return self.row

    def _trend(self) -> dict[str, Any]:
        if len(self._recent) < 2:
            return {"fallen": None, "seconds_left": None}
        (t0, s0, l0), (t1, s1, l1) = self._recent[0], self._recent[-1]
        left = None
        if self.row.total_steps and s0 < s1 < self.row.total_steps:
            left = (self.row.total_steps - s1) * (t1 - t0) / (s1 - s0)
        return {"fallen": l0 - l1, "seconds_left": left}


class _Watched:
    """One run that is being watched: active ones through a follower, ended ones by the time of their state file."""

    def __init__(self, run: Run) -> None:
        from ..core.runs.follow import Follower
        from ..core.runs.spec import MetricLine

        self.run = run
        request = run.spec.request
        self.tracker = Tracker(
            RunRow(
                id=run.id, kind=run.spec.kind, name=run.spec.name, model=str(request.get("model", "")), created=run.spec.created,
                method=str(request.get("method", "")), parent=run.spec.parent,
            )
        )  # fmt: skip
        self._follower = Follower(run, log_tail=0, line=MetricLine)
        self._stamp = 0
        self.look()

    def look(self) -> RunRow:
        """The row as it is now; costs one `stat` for a run that has ended."""
        row = self.tracker.row
        if self._stamp and not row.active:
            stamp = _stamp(self.run.dir / "state.json")
            if stamp == self._stamp:
                return row
        self._stamp = _stamp(self.run.dir / "state.json")
        row = self.tracker.take(self._follower.poll())
        if not row.active:
            row = self.tracker.row = replace(row, **self._ending())
        return row

    def _ending(self) -> dict[str, Any]:
        """What only the result knows."""
        ended = self.run.result()
        facts = ended.result if ended else {}
        if self.run.spec.kind == "compare":
            return _best(facts.get("rows") or [])
        evaluation = facts.get("eval") or {}
        made = facts.get("url") if self.run.spec.kind == "push" else facts.get("adapter") or facts.get("out")
        return {
            "result": str(made or ""),
            "eval_loss": evaluation.get("loss", self.tracker.row.eval_loss),
            "base_loss": (facts.get("base_eval") or {}).get("loss"),
        }


def _best(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of a comparison: the lowest loss beside the base's."""
    losses = {row["method"]: row["loss"] for row in rows if row.get("loss") is not None}
    base = losses.pop("base", None)
    return {"eval_loss": min(losses.values(), default=None), "base_loss": base}


def _stamp(path: Path) -> int:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return -1


class RunWatcher:
    """The thread. ``post``, ``post_devices`` and ``post_problem`` are called in it, and only when there is something new."""

    def __init__(
        self,
        home: Home,
        post: Callable[[tuple[RunRow, ...]], object],
        post_devices: Callable[[tuple[Device, ...]], object] | None = None,
        post_problem: Callable[[str], object] | None = None,
    ) -> None:
        self.home = home
        self._post, self._post_devices, self._post_problem = post, post_devices, post_problem
        self._problem = ""
        self._wake = threading.Event()
        self._ended = False
        self._thread: threading.Thread | None = None
        self._watched: dict[str, _Watched] = {}
        self._rows: tuple[RunRow, ...] | None = None
        self._devices: tuple[Device, ...] | None = None
        self._refreshed = self._sampled = 0.0

    def start(self) -> None:
        """Begin; a daemon thread, so that it never delays leaving."""
        self._thread = threading.Thread(target=self._loop, name="run-watcher", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End at the next chance."""
        self._ended = True
        self._wake.set()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def _loop(self) -> None:
        from ..core.errors import FineTUIError

        while not self._ended:
            busy, problem = False, ""
            try:
                busy = self._round()
            except (FineTUIError, OSError) as reason:  # a disk that is away for a while must not end the watching
                problem = str(reason)
            if problem != self._problem and self._post_problem is not None and not self._ended:
                self._problem = problem
                self._post_problem(problem)
            self._wake.wait(ACTIVE_SECONDS if busy else IDLE_SECONDS)
            self._wake.clear()

    def _round(self) -> bool:
        """One look at runs and, when it is time, at devices; returns whether something runs."""
        busy = any(row.active for row in self.look())
        now = time.monotonic()
        if self._post_devices is not None and (not self._sampled or (busy and now - self._sampled >= DEVICE_SECONDS)):
            self._sample()
            self._sampled = time.monotonic()
        if (busy or not self._refreshed) and now - self._refreshed >= REFRESH_SECONDS:
            self._make_true()
            self._refreshed = time.monotonic()
        return busy

    def look(self) -> tuple[RunRow, ...]:
        """Read what is new; posts and returns the rows. A run that cannot be read is left out."""
        from ..core.errors import FineTUIError

        found = self._run_ids()
        for gone in self._watched.keys() - set(found):
            del self._watched[gone]
        rows = []
        for run_id in found:
            watched = self._watched.get(run_id) or self._open(run_id)
            if watched is None:
                continue
            try:
                rows.append(watched.look())
            except (FineTUIError, OSError):  # removed or unreadable meanwhile: it is opened again once it can be read
                del self._watched[run_id]
        shown = self._with_places(rows)
        if shown != self._rows and not self._ended:
            self._rows = shown
            self._post(shown)
        return shown

    def _with_places(self, rows: list[RunRow]) -> tuple[RunRow, ...]:
        """Queued runs with their places in the queue."""
        if not any(row.state == "queued" for row in rows):
            return tuple(rows)
        from ..core.runs.queue import Queue

        queue = Queue(self.home)
        places, paused = {waiting.run.id: waiting.position for waiting in queue.waiting()}, queue.paused
        shown = []
        for row in rows:
            place = places.get(row.id, 0)
            reason = "the queue is paused" if place and paused else row.reason
            shown.append(replace(row, position=place, paused=bool(place) and paused, reason=reason) if row.state == "queued" else row)
        return tuple(shown)

    def _run_ids(self) -> list[str]:
        try:
            return sorted((entry.name for entry in os.scandir(self.home.runs) if not entry.name.startswith(".")), reverse=True)
        except FileNotFoundError:
            return []

    def _open(self, run_id: str) -> _Watched | None:
        from ..core.errors import FineTUIError
        from ..core.runs.store import RunStore

        try:
            watched = _Watched(RunStore(self.home).get(run_id))
        except (FineTUIError, OSError):  # a folder that is no run, or no run yet: looked at again next time
            return None
        self._watched[run_id] = watched
        return watched

    def _make_true(self) -> None:
        """Adopt runs whose supervisor died, mark those that are gone."""
        from ..core.errors import FineTUIError
        from ..core.runs.adopt import refresh

        for watched in list(self._watched.values()):
            if watched.tracker.row.active:
                try:
                    refresh(watched.run)
                except (FineTUIError, OSError):  # it keeps its last word; the next look tries again
                    continue

    def _sample(self) -> None:
        from ..core.devices import sample

        devices = tuple(sample(processes=True))
        if devices != self._devices and self._post_devices is not None and not self._ended:
            self._devices = devices
            self._post_devices(devices)
