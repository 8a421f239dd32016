"""Curves as braille cells: decimation to the pixels there are, moving average, ticks at round numbers. No Textual here.

A terminal cell holds 2 × 4 dots. Of a series with more points than dot columns the minimum and maximum of each column are
drawn, so that no spike is lost; the moving average is one dot a column, joined.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of the dot in (row, column) of a braille cell (Unicode block U+2800)."""


@dataclass
class Series:
    """Points to draw, ``xs`` ascending.

    Attributes:
        layer: name of the style it is drawn in.
        kind: ``range`` (minimum to maximum of each column), ``line`` (joined dots), ``points`` (one sign a point).
    """

    layer: str
    kind: str
    xs: list[float] = field(default_factory=list)
    ys: list[float] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Window:
    """The rectangle of values that is drawn."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float


class Canvas:
    """``width`` × ``height`` cells, each with dots and the layer drawn last in it (later layers hide earlier ones)."""

    def __init__(self, width: int, height: int, braille: bool = True) -> None:
        self.width, self.height = width, height
        self.dots = [[0] * width for _ in range(height)]
        self.layers: list[list[str]] = [[""] * width for _ in range(height)]
        self.signs: list[list[str]] = [[""] * width for _ in range(height)]
        self.braille = braille

    def dot(self, x: int, y: int, layer: str) -> None:
        """Set the dot in dot column ``x`` (0 left) and dot row ``y`` (0 top)."""
        column, row = x >> 1, y >> 2
        if self.layers[row][column] != layer:
            self.layers[row][column] = layer
            self.dots[row][column] = 0
        self.dots[row][column] |= _BITS[y & 3][x & 1]

    def span(self, x: int, top: int, bottom: int, layer: str) -> None:
        """Set the dots of one dot column between two dot rows, both included."""
        for y in range(top, bottom + 1):
            self.dot(x, y, layer)

    def sign(self, x: int, y: int, sign: str, layer: str) -> None:
        """Put a character over the cell that holds a dot."""
        self.signs[y >> 2][x >> 1] = sign
        self.layers[y >> 2][x >> 1] = layer

    def row(self, y: int) -> list[tuple[str, str]]:
        """Row ``y`` as (text, layer) runs; the layer of blank cells is empty."""
        runs: list[tuple[str, str]] = []
        for column in range(self.width):
            sign, dots = self.signs[y][column], self.dots[y][column]
            text = sign or (_cell(dots, self.braille) if dots else " ")
            layer = self.layers[y][column] if text != " " else ""
            if runs and runs[-1][1] == layer:
                runs[-1] = (runs[-1][0] + text, layer)
            else:
                runs.append((text, layer))
        return runs


def _cell(dots: int, braille: bool) -> str:
    if braille:
        return chr(0x2800 + dots)
    upper, lower = dots & 0b00011011, dots & 0b11100100
    return ":" if upper and lower else ("'" if upper else ".")


def columns(xs: Sequence[float], ys: Sequence[float], window: Window, count: int) -> list[tuple[float, float] | None]:
    """Minimum and maximum of ``ys`` in each of ``count`` equal columns of the window; ``None`` where no finite point lies."""
    lows = [math.inf] * count
    highs = [-math.inf] * count
    scale = (count - 1) / ((window.x_high - window.x_low) or 1.0)
    first, last, start = window.x_low, window.x_high, 0.5 - window.x_low * scale
    for x, y in zip(xs, ys):
        if first <= x <= last and y - y == 0.0:
            column = int(x * scale + start)
            if y < lows[column]:
                lows[column] = y
            if y > highs[column]:
                highs[column] = y
    return [(low, high) if low <= high else None for low, high in zip(lows, highs)]


def draw(canvas: Canvas, series: Series, window: Window, point: str) -> None:
    """Draw one series into the canvas."""
    wide, tall = canvas.width * 2, canvas.height * 4
    scale = (tall - 1) / ((window.y_high - window.y_low) or 1.0)

    def row(value: float) -> int:
        return min(tall - 1, max(0, round((window.y_high - value) * scale)))

    found = columns(series.xs, series.ys, window, wide)
    previous: tuple[int, int] | None = None
    for x, extent in enumerate(found):
        if extent is None:
            continue
        top, bottom = row(extent[1]), row(extent[0])
        if series.kind == "points":
            canvas.sign(x, (top + bottom) // 2, point, series.layer)
        elif series.kind == "line" or len(series.xs) <= wide:
            middle = (top + bottom) // 2
            if previous is not None:
                _join(canvas, previous, (x, middle), series.layer)
            else:
                canvas.dot(x, middle, series.layer)
            previous = (x, middle)
        else:
            canvas.span(x, top, bottom, series.layer)


def _join(canvas: Canvas, start: tuple[int, int], end: tuple[int, int], layer: str) -> None:
    (x0, y0), (x1, y1) = start, end
    steps = max(abs(x1 - x0), abs(y1 - y0), 1)
    for step in range(1, steps + 1):
        canvas.dot(round(x0 + (x1 - x0) * step / steps), round(y0 + (y1 - y0) * step / steps), layer)


class Smoothed:
    """A series whose centred moving average can be asked for anywhere in constant time (prefix sums); it does not lag."""

    def __init__(self) -> None:
        self.xs: list[float] = []
        self._sums = [0.0]
        self._counts = [0]

    def add(self, x: float, y: float) -> None:
        """One more point; a value that is not finite is left out of the averages."""
        finite = math.isfinite(y)
        self.xs.append(x)
        self._sums.append(self._sums[-1] + (y if finite else 0.0))
        self._counts.append(self._counts[-1] + finite)

    def pop(self) -> None:
        """Forget the last point."""
        for values in (self.xs, self._sums, self._counts):
            values.pop()

    def curve(self, window: Window, count: int) -> tuple[list[float], list[float]]:
        """The average at the middle of each of ``count`` columns of a window, each over about a twentieth of all points.

        The reach grows in powers of two, so that a new point changes only the end of the curve.
        """
        total = len(self.xs)
        half = 1 << max(0, (total // 40).bit_length() - 1)
        width = (window.x_high - window.x_low) / max(1, count - 1)
        xs, ys, last = [], [], -1
        for column in range(count if total else 0):
            index = bisect_right(self.xs, window.x_low + (column + 0.5) * width) - 1
            if index <= last:
                continue
            last = index
            reach = max(min(half, index, total - 1 - index), half // 3)
            low, high = max(0, index - reach), min(total, index + reach + 1)
            number = self._counts[high] - self._counts[low]
            if number:
                xs.append(self.xs[index])
                ys.append((self._sums[high] - self._sums[low]) / number)
        return xs, ys


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most ``count`` + 1 round numbers (1, 2 or 5 times a power of ten apart) between ``low`` and ``high``."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or count < 1:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + step * 1e-9:
        found.append(first * step)
        first += 1
    return found


def tick_label(value: float, step: float) -> str:
    """A tick's value with just the places its step needs; thousands as ``k``, very large ones with an exponent."""
    if abs(value) >= 1e6:
        return f"{value:.1e}"
    if step >= 1000 and value % 1000 == 0 and value:
        return f"{value / 1000:g}k"
    places = max(0, -math.floor(math.log10(step) + 1e-9)) if step > 0 else 0
    return f"{value:.{places}f}" if places <= 6 else f"{value:.1e}"
