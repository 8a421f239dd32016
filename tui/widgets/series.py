"""Points of a curve, kept so that extremes and averages of any part of it are told quickly. No Textual here."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left, bisect_right

_LARGEST = 1e12
"""More than this counts as this in averages: sums of larger numbers would lose the small ones that follow."""


class Series:
    """Finite points, ``xs`` ascending. 24 bytes a point.

    A point at or before the last ``x`` takes back what was there from it on: a resumed run trains those steps again.
    """

    def __init__(self) -> None:
        self.xs, self.ys = array("d"), array("d")
        self._sums = array("d", (0.0,))

    def __len__(self) -> int:
        return len(self.xs)

    def add(self, x: float, y: float) -> None:
        """One more point; one that is not finite only takes back."""
        if self.xs and self.xs[-1] >= x:
            keep = bisect_left(self.xs, x)
            del self.xs[keep:], self.ys[keep:], self._sums[keep + 1 :]
        if math.isfinite(y):
            self.xs.append(x)
            self.ys.append(y)
            self._sums.append(self._sums[-1] + max(-_LARGEST, min(_LARGEST, y)))

    def between(self, low: float, high: float) -> slice:
        """Where the points from ``low`` to ``high`` are, both included."""
        return slice(bisect_left(self.xs, low), bisect_right(self.xs, high))

    def nearest(self, x: float) -> int:
        """Number of the point nearest to ``x``; -1 where there is none."""
        after = bisect_left(self.xs, x)
        around = [place for place in (after - 1, after) if 0 <= place < len(self.xs)]
        return min(around, key=lambda place: abs(self.xs[place] - x), default=-1)

    def mean(self, place: int, reach: int) -> float:
        """Mean of the points up to ``reach`` before and after one; at the ends as far as goes on both sides, so that it does not lag."""
        reach = max(min(reach, place, len(self.xs) - 1 - place), reach // 3)
        low, high = max(0, place - reach), min(len(self.xs), place + reach + 1)
        return (self._sums[high] - self._sums[low]) / (high - low)

    def reach(self, share: float) -> int:
        """How far an average over about twice this share of all points looks to each side: it grows in powers of two,
        so that a new point changes only the end of the averaged curve."""
        return 1 << (wanted.bit_length() - 1) if (wanted := int(len(self.xs) * share)) else 0

    def smoothed(self, low: float, high: float, count: int, share: float) -> list[tuple[float, float]]:
        """The moving average at ``count`` equal places from ``low`` to ``high``, and at one point beyond each end.

        Args:
            share: of all points, that the average looks to each side; 0: the points themselves.
        """
        visible = self.between(low, high)
        start, stop = max(0, visible.start - 1), min(len(self.xs), visible.stop + 1)
        reach = self.reach(share)
        places: list[int] | range = range(start, stop)
        if stop - start > count:
            width = (high - low) / max(1, count - 1)
            inner = {bisect_right(self.xs, low + (column + 0.5) * width) - 1 for column in range(count)}
            places = sorted(place for place in {start, stop - 1} | inner if start <= place < stop)
        return [(self.xs[place], self.mean(place, reach)) for place in places]

    def columns(self, low: float, high: float, count: int) -> list[tuple[float, float] | None]:
        """Minimum and maximum in each of ``count`` equal columns from ``low`` to ``high``; ``None`` where no point lies."""
        width = (high - low) / max(1, count - 1)
        ends = [bisect_left(self.xs, low + (column - 0.5) * width) for column in range(1, count)]
        visible = self.between(low, high)
        places = [visible.start, *(min(max(end, visible.start), visible.stop) for end in ends), visible.stop]
        found: list[tuple[float, float] | None] = []
        for start, stop in zip(places, places[1:]):
            part = self.ys[start:stop]
            found.append((min(part), max(part)) if part else None)
        return found
