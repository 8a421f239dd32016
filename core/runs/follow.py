"""Following a run: each reader keeps its own places in the run's files, and blocks nobody."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from ..fsio import JsonlReader
from .adopt import refresh
from .console import LogReader
from .meters import FILE as METERS
from .spec import ACTIVE, Event, RunState
from .store import Run

REFRESH_SECONDS = 2.0
"""How often `follow` makes sure that someone still looks after the run."""


@dataclass(frozen=True, slots=True)
class Update:
    """What is new since the last poll.

    Attributes:
        state: where the run stands now.
        metrics: new lines of ``metrics.jsonl``, each a dict or what the follower was told to read them as.
        events: new events.
        log_lines: new whole lines of ``console.log``.
        meters: new readings of the run's devices.
        changed: whether anything is new, the state included.
    """

    state: RunState
    metrics: list[Any] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    log_lines: list[str] = field(default_factory=list)
    meters: list[dict[str, Any]] = field(default_factory=list)
    changed: bool = True


class Follower:
    """One reader of a run.

    Args:
        log_tail: of the log that is there already, give only the last so many bytes; ``None``: all of it.
        meters: read those of the devices, too.
        line: what to read a line of ``metrics.jsonl`` as: a dict, or `MetricLine` for what screens show.
    """

    def __init__(self, run: Run, *, log_tail: int | None = None, meters: bool = False, line: type = dict) -> None:
        self.run = run
        self._metrics = JsonlReader(run.dir / "metrics.jsonl", line)
        self._events = JsonlReader(run.dir / "events.jsonl", Event)
        self._log = LogReader(run.dir, log_tail)
        self._meters = JsonlReader(run.dir / METERS) if meters else None
        self._known: tuple[str, int, int] | None = None

    def poll(self) -> Update:
        """Read what is new. The state is read first: after an ended state everything the job wrote is in this update."""
        state = self.run.state()
        metrics, events, lines = self._metrics.read(), self._events.read(), self._log.read()
        meters = self._meters.read() if self._meters else []
        known = (state.state, state.attempt, len(state.history))
        changed = bool(metrics or events or lines or meters) or known != self._known
        self._known = known
        return Update(state, metrics, events, lines, meters, changed)


def follow(run: Run, *, interval: float = 0.25, log_tail: int | None = None) -> Iterator[Update]:
    """Yield an `Update` whenever there is something new, until the run has ended; the last one has the final state."""
    follower = Follower(run, log_tail=log_tail)
    truth, checked = run.state(), 0.0
    while True:
        if time.monotonic() - checked >= REFRESH_SECONDS:
            truth = refresh(run)
            checked = time.monotonic()
        update = follower.poll()
        if truth.state not in ACTIVE and update.state.state in ACTIVE:  # the disk is too full to write the end down
            update = replace(update, state=truth, changed=True)
        if update.changed:
            yield update
        if update.state.state not in ACTIVE:
            return
        time.sleep(interval)
