"""Noticing that a training run stands still: its job lives, but nothing is written any more."""

from __future__ import annotations

import os
import time
from itertools import pairwise
from pathlib import Path

from .. import fsio

STALLED = "no step for"
"""How the reason of a stalled run begins."""

LEAST_SECONDS = 60.0
TIMES_USUAL = 20.0
"""A run is stalled when nothing was written for as long as the larger of these: seconds, and the usual time of a step so often."""

_LOOK_SECONDS = 2.0
_LINES = 31
"""Metric lines that the usual time of a step is taken from, as the median of the times between them."""


class Pulse:
    """Watches the files of a run's job. Time is the clock that stands still while the machine sleeps."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._stamp = self._written()
        self._saved: int | None = None
        self._since = self._looked = time.monotonic()
        self._told = 0.0

    def look(self) -> str | None:
        """What to say of a running run now: a reason, ``""`` when it goes on again, ``None`` where nothing has changed.

        Evaluation, samples and checkpoints are life: a job that asks whether it is to stop renews the time of its metrics
        (`Job.stop_requested`), and a checkpoint in the making is seen by its files. The reason is renewed whenever its time has doubled.
        """
        now = time.monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return None
        self._looked = now
        quiet = now - self._since
        if self._lives(quiet):
            told, self._since, self._told = self._told, now, 0.0
            return "" if told else None
        if quiet < max(LEAST_SECONDS, 2 * self._told):
            return None
        usual = self._usual()
        if usual is None or quiet < TIMES_USUAL * usual:
            return None
        self._told = quiet
        return f"{STALLED} {_words(quiet)} (usually {_words(usual)})"

    def _lives(self, quiet: float) -> bool:
        """Whether something was written since the last look. Checkpoints are looked at only when all else is quiet."""
        stamp, saved = self._written(), None
        if stamp == self._stamp and quiet >= LEAST_SECONDS / 2:
            saved = max((_changed(path) for path in (self._folder / "checkpoints").glob("**/*")), default=-1)
        lives = stamp != self._stamp or (self._saved is not None and saved is not None and saved != self._saved)
        self._stamp, self._saved = stamp, None if lives else saved
        return lives

    def _written(self) -> tuple[int, int]:
        return _changed(self._folder / "metrics.jsonl"), _changed(self._folder / "events.jsonl")

    def _usual(self) -> float | None:
        """Seconds between two metric lines of this attempt; ``None`` before there are three, and after the last step."""
        lines = [line for line in fsio.tail_records(self._folder / "metrics.jsonl") if "loss" in line]
        times = [line["time"] for line in lines if line.get("attempt") == lines[-1].get("attempt")][-_LINES:]
        if len(times) < 3:
            return None
        for event in reversed(fsio.tail_records(self._folder / "events.jsonl")):
            if event.get("kind") == "early_stop":
                return None
            if event.get("kind") == "progress":
                data = event.get("data", {})
                if data.get("done") == data.get("total"):
                    return None  # all steps are done: the result is being written
                break
        return sorted(after - before for before, after in pairwise(times))[(len(times) - 1) // 2]


def _changed(path: Path) -> int:
    try:
        return os.stat(path).st_mtime_ns
    except OSError:  # not there yet, or just renamed
        return -1


def _words(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.2g} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
