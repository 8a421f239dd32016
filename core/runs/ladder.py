"""How a run is stopped: first asked, then told, then ended. Each step has its time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from . import records

GENTLY: tuple[tuple[float, signal.Signals], ...] = ((10, signal.SIGINT),)
"""Seconds after the request → signal. The request file itself is seen by the job at its next step; SIGINT says the same."""

NOW: tuple[tuple[float, signal.Signals], ...] = ((0, signal.SIGINT), (2, signal.SIGTERM), (6, signal.SIGKILL))
"""A second signal interrupts the job, without a checkpoint."""

PATIENCE_SECONDS = 1800.0
"""How long a job may take to stop by itself: a large checkpoint takes minutes. After that it is stopped as with `NOW`."""


class Ladder:
    """Watches a run's stop requests and sends the signals when they are due."""

    def __init__(self, folder: Path, send: Callable[[signal.Signals], object]) -> None:
        self._folder = folder
        self._send = send
        self._steps: list[tuple[float, signal.Signals]] = []
        self._began = 0.0
        self._now = False
        self.requested = False
        self.sent: list[signal.Signals] = []
        """The signals sent so far, in order."""

    def advance(self) -> bool:
        """Look for requests, send what is due; returns whether this call saw the first request."""
        first = not self.requested and records.is_requested(self._folder, records.STOP)
        if first:
            self.requested = True
            self._restart(GENTLY)
        if self.requested and not self._now and time.monotonic() - self._began >= PATIENCE_SECONDS:
            records.request(self._folder, records.STOP_NOW)
        if self.requested and not self._now and records.is_requested(self._folder, records.STOP_NOW):
            self._now = True
            self._restart(NOW)
        while self._steps and time.monotonic() - self._began >= self._steps[0][0]:
            number = self._steps.pop(0)[1]
            self.sent.append(number)
            self._send(number)
        return first

    def _restart(self, steps: tuple[tuple[float, signal.Signals], ...]) -> None:
        self._began = time.monotonic()
        self._steps = list(steps)
