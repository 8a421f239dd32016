"""How a run is stopped: first asked, then told, then ended. Each step has its time."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path

from . import records

GENTLY: tuple[tuple[float, signal.Signals], ...] = ((10, signal.SIGINT), (120, signal.SIGTERM), (150, signal.SIGKILL))
"""Seconds after the request → signal. The request file itself is seen by the job at its next step; SIGINT says the same
to a job that is busy elsewhere; SIGTERM, its second signal, interrupts it without a checkpoint."""

NOW: tuple[tuple[float, signal.Signals], ...] = ((0, signal.SIGINT), (2, signal.SIGTERM), (6, signal.SIGKILL))


class Ladder:
    """Watches a run's stop requests and sends the signals when they are due."""

    def __init__(self, folder: Path, send: Callable[[signal.Signals], object]) -> None:
        self._folder = folder
        self._send = send
        self._steps: list[tuple[float, signal.Signals]] = []
        self._began = 0.0
        self._now = False
        self.requested = False
        self.last = ""
        """Name of the last signal sent."""

    def advance(self) -> bool:
        """Look for requests, send what is due; returns whether this call saw the first request."""
        first = not self.requested and records.is_requested(self._folder, records.STOP)
        if first:
            self.requested = True
            self._restart(GENTLY)
        if self.requested and not self._now and records.is_requested(self._folder, records.STOP_NOW):
            self._now = True
            self._restart(NOW)
        while self._steps and time.monotonic() - self._began >= self._steps[0][0]:
            number = self._steps.pop(0)[1]
            self.last = number.name
            self._send(number)
        return first

    def _restart(self, steps: tuple[tuple[float, signal.Signals], ...]) -> None:
        self._began = time.monotonic()
        self._steps = list(steps)
