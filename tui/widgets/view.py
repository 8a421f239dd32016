"""Which part of the curves is seen, and how. No Textual here."""

from __future__ import annotations

import math
from dataclasses import dataclass

from .ticks import rounded_end

SMOOTHING: tuple[tuple[str, float], ...] = (("off", 0.0), ("light", 1 / 160), ("medium", 1 / 40), ("strong", 1 / 10))
"""Strengths of the moving average, and the share of all points that it looks to each side."""
MEDIUM = 2
CLOSEST = 4.0
"""Steps that are shown at least."""


@dataclass
class View:
    """A view of curves over steps.

    Attributes:
        span: steps shown; 0: all there are.
        end: the last of them; ``None``: whatever is newest.
        log: whether the axis of values is logarithmic.
        smoothing: number of the strength.
        cursor: step whose values are read out; ``None``: none.
    """

    span: float = 0.0
    end: float | None = None
    log: bool = False
    smoothing: int = MEDIUM
    cursor: float | None = None

    @property
    def share(self) -> float:
        """Of all points, that the moving average looks to each side."""
        return SMOOTHING[self.smoothing][1]

    @property
    def smoothing_name(self) -> str:
        """The strength in a word."""
        return SMOOTHING[self.smoothing][0]

    def steps(self, first: float, last: float) -> tuple[float, float]:
        """The steps shown of those from ``first`` to ``last``.

        A view that follows what is newest moves by a quarter of itself at a time: to move at every step would draw everything anew.
        """
        if not self.span:
            return first, rounded_end(first, last)
        if self.end is not None:
            return self.end - self.span, self.end
        grain = self.span / 4
        high = first + math.ceil((last - first) / grain) * grain
        return high - self.span, high

    def zoom(self, factor: float, first: float, last: float) -> None:
        """Show ``factor`` times as many steps, about the cursor where it is in sight, else the newest or the middle."""
        low, high = self.steps(first, last)
        span = max(CLOSEST, (high - low) * factor)
        if span >= last - first:
            self.span, self.end = 0.0, None
            return
        if self.cursor is not None and low <= self.cursor <= high:
            middle = self.cursor
        else:
            middle = last - span / 2 if self.end is None else (low + high) / 2
        self._look(middle + span / 2, span, first, last)

    def pan(self, share: float, first: float, last: float) -> None:
        """Move by a share of what is seen; right: above 0. At the newest step it follows again."""
        low, high = self.steps(first, last)
        if self.span:
            self._look(high + share * (high - low), high - low, first, last)

    def move_cursor(self, step: float, first: float, last: float) -> None:
        """Put the cursor on a step, and move the view where it would be out of sight."""
        self.cursor = min(last, max(first, step))
        low, high = self.steps(first, last)
        if self.span and not low <= self.cursor <= high:
            beyond = self.span / 4
            self._look(self.cursor + (beyond if self.cursor > high else self.span - beyond), self.span, first, last)

    def show_all(self) -> None:
        """Every step, linear, without cursor."""
        self.span, self.end, self.log, self.cursor = 0.0, None, False, None

    def _look(self, end: float, span: float, first: float, last: float) -> None:
        self.span = span
        self.end = None if end >= last else max(end, first + span)
