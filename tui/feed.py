"""Following one run for its dashboard: a thread reads, the facts are folded on the screen's side."""

from __future__ import annotations

import re
import threading
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from textual.message import Message

from ..core.paths import Home
from .histories import History
from .meterlines import Meter

if TYPE_CHECKING:
    from ..core.fsio import JsonlReader
    from ..core.runs.follow import Update
    from ..core.runs.spec import MetricLine, RunSpec

POLL_SECONDS = 0.5
"""The dashboard is drawn at most this often."""
REFRESH_EVERY = 4
"""Polls between two checks that the run is really alive."""
LOG_TAIL_BYTES = 1_000_000
LOG_LINES = 10_000
"""Kept at most of the log."""
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|[\x00-\x08\x0b-\x1f\x7f]")


class RunNews(Message):
    """Something new in the run, and what it is; ``request`` as its current attempt takes it."""

    def __init__(self, spec: RunSpec, update: Update, request: dict[str, Any]) -> None:
        super().__init__()
        self.spec, self.update, self.request = spec, update, request


class OtherNews(Message):
    """New lines of the metrics of a run that is drawn over this one."""

    def __init__(self, run_id: str, lines: list[MetricLine]) -> None:
        super().__init__()
        self.run_id, self.lines = run_id, lines


class RunFeed:
    """The thread that polls one run, and the metrics of those drawn over it. ``post`` is called in it.

    Attributes:
        others: ids of the runs drawn over this one; replaced, never changed, by the screen.
    """

    def __init__(self, home: Home, run_id: str, post: Callable[[Message], object], failed: Callable[[Exception], object]) -> None:
        self.home, self.run_id, self._post, self._failed = home, run_id, post, failed
        self.others: tuple[str, ...] = ()
        self._readers: dict[str, JsonlReader] = {}
        self._wake = threading.Event()
        self._ended = False

    def start(self) -> None:
        """Begin; a daemon thread, so that it never delays leaving."""
        threading.Thread(target=self._loop, name="run-feed", daemon=True).start()

    def stop(self) -> None:
        """End at the next chance."""
        self._ended = True
        self._wake.set()

    def wake(self) -> None:
        """Look now."""
        self._wake.set()

    def _loop(self) -> None:
        from ..core.runs.adopt import refresh
        from ..core.runs.follow import Follower
        from ..core.runs.spec import MetricLine, effective_request
        from ..core.runs.store import RunStore

        try:
            run = RunStore(self.home).get(self.run_id)
            follower = Follower(run, log_tail=LOG_TAIL_BYTES, meters=True, line=MetricLine)
            rounds = 0
            while not self._ended:
                if rounds % REFRESH_EVERY == 1:
                    refresh(run)
                rounds += 1
                if not run.dir.is_dir():
                    raise FileNotFoundError(run.dir)
                update = follower.poll()
                if update.changed and not self._ended:
                    self._post(RunNews(run.spec, update, effective_request(run.spec, update.state)))
                self._read_others()
                self._wake.wait(POLL_SECONDS)
                self._wake.clear()
        except Exception as problem:
            if not self._ended:
                self._failed(problem)

    def _read_others(self) -> None:
        """What is new in the metrics of the other runs; all of it for one that was just chosen."""
        from ..core.fsio import JsonlReader
        from ..core.runs.spec import MetricLine

        others = self.others
        self._readers = {one: self._readers.get(one) or JsonlReader(self.home.runs / one / "metrics.jsonl", MetricLine) for one in others}
        for run_id, reader in self._readers.items():
            lines = reader.read()
            if lines and not self._ended:
                self._post(OtherNews(run_id, lines))


def plain(line: str) -> str:
    """A log line without escape sequences; of a progress bar only its last state."""
    return _ESCAPES.sub("", line.rstrip("\r").rsplit("\r", 1)[-1]).expandtabs()


class RunFacts:
    """Everything the dashboard shows, folded from updates.

    Attributes:
        last: the last line of training metrics; step 0 before there is one.
        history: the figures of all steps.
        evaluations: (step, loss) of each evaluation.
        trouble: ``stalled``, ``diverging`` or nothing, and what there is to say of it.
        meters: readings of each device by UUID.
        rightness: (accuracy, macro-F1) of a classifier's last evaluation.
        log: its last lines; ``logged`` counts all there were.
    """

    def __init__(self) -> None:
        from ..core.runs.spec import MetricLine

        self.state = "queued"
        self.started: float | None = None
        self.finished: float | None = None
        self.devices: list[str] = []
        self.error: dict[str, str] = {}
        self.reason = ""
        self.trouble = ("", "")
        self._diverging = False
        self.meters: dict[str, Meter] = {}
        self.total_steps: int | None = None
        self.prepared: dict[str, Any] = {}
        self.progress: dict[str, Any] = {}
        self.last = MetricLine()
        self.history = History()
        self.evaluations: list[tuple[float, float]] = []
        self.rightness: tuple[float, float] | None = None
        self.times: deque[tuple[float, float]] = deque(maxlen=50)
        self.events: list[tuple[float, str, str]] = []
        self.samples: list[tuple[float, str, str]] = []
        self.log: deque[str] = deque(maxlen=LOG_LINES)
        self.logged = 0

    def take(self, update: Update) -> None:
        """Fold an update in."""
        from ..core.runs.summary import diverges, trouble

        state = update.state
        self.state, self.started, self.finished, self.devices = state.state, state.started, state.finished, state.devices
        self.reason = state.reason
        self.error = state.error or ({"message": state.reason, "hint": ""} if state.state == "lost" else {})
        self.log.extend(plain(line) for line in update.log_lines)
        self.logged += len(update.log_lines)
        for event in update.events:
            self._event(event)
        self._diverging = diverges(update.events, self._diverging)
        word = trouble(state, self._diverging)
        exploded = next((message for _, kind, message in reversed(self.events) if kind == "diverging"), "")
        self.trouble = (word, state.reason if word == "stalled" else exploded if word else "")
        for line in update.meters:
            for device in line["devices"]:
                self.meters.setdefault(device["uuid"], Meter()).take(line["time"], device)
        self.history.take(update.metrics)
        trained = [line for line in update.metrics if line.loss is not None]
        for line in trained[-(self.times.maxlen or 0) :]:
            self._line(line)
        evaluated = [line for line in update.metrics if line.eval_loss is not None]
        for line in evaluated:
            self.rightness = None if line.eval_accuracy is None else (line.eval_accuracy, line.eval_f1)
            self.evaluations = [known for known in self.evaluations if known[0] < line.step] + [(line.step, line.eval_loss)]

    def _event(self, event: Any) -> None:
        if event.kind == "progress":
            self.progress = {**event.data, "message": event.message}
            return
        if event.kind == "prepared":
            self.prepared = event.data
            self.total_steps = event.data.get("total_steps") or self.total_steps
        if event.kind == "sample":
            self.samples.append((event.data.get("step", 0), event.data.get("prompt", ""), event.data.get("text", event.message)))
        else:
            self.events.append((event.time, event.kind, event.message))

    def _line(self, line: MetricLine) -> None:
        previous, self.last = self.last, line
        if self.times and (line.step <= previous.step or line.attempt != previous.attempt):
            self.times.clear()  # resumed: the pause is no training time
        self.times.append((line.time, line.step))

    @property
    def ended(self) -> bool:
        """Whether nothing happens any more: no memory is in use, no time is left."""
        return self.state in ("stopped", "succeeded", "failed", "lost")

    @property
    def step(self) -> int:
        """Last finished step."""
        return self.last.step or int(self.progress.get("done", 0) or 0)

    @property
    def seconds_left(self) -> float | None:
        """At the speed of the last fifty lines; ``None`` where it cannot be told."""
        if self.state not in ("running", "stopping") or not self.total_steps or len(self.times) < 2:
            return None
        (t0, s0), (t1, s1) = self.times[0], self.times[-1]
        return (self.total_steps - s1) * (t1 - t0) / (s1 - s0) if s0 < s1 < self.total_steps else None

    @property
    def first_loss(self) -> float | None:
        """The loss of the first step."""
        return self.history["loss"].ys[0] if self.history["loss"] else None

    @property
    def best_evaluation(self) -> tuple[float, float] | None:
        """(step, loss) of the lowest evaluation loss."""
        return min(self.evaluations, key=lambda pair: pair[1]) if self.evaluations else None
