"""Drawing with dots: a terminal cell holds 2 × 4 of them as a braille character. No Textual here."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from .series import Series

_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))
"""Bit of the dot in (row, column) of a braille cell (Unicode block U+2800)."""


@dataclass(frozen=True, slots=True)
class Window:
    """The rectangle of values that is drawn; on a logarithmic axis ``y_low`` and ``y_high`` are powers of ten."""

    x_low: float
    x_high: float
    y_low: float
    y_high: float
    log: bool = False

    def across(self, x: float, width: int) -> float:
        """Place of ``x`` among ``width`` columns of dots or cells; below 0 or beyond where it lies outside."""
        return (x - self.x_low) / ((self.x_high - self.x_low) or 1.0) * (width - 1)

    def down(self, y: float, height: int) -> float:
        """Place of ``y`` among ``height`` rows, 0 at the top; a value that a logarithm does not have lies below all."""
        if self.log:
            y = math.log10(y) if y > 0 else -math.inf
        place = (self.y_high - y) / ((self.y_high - self.y_low) or 1.0) * (height - 1)
        return max(-1e6, min(1e6, place))


class Canvas:
    """``width`` × ``height`` cells, each with dots and the layer drawn last in it (later layers hide earlier ones).

    Args:
        signs: without braille, the character that stands for dots of a layer; else dots become ``.``, ``'`` and ``:``.
    """

    def __init__(self, width: int, height: int, braille: bool = True, signs: Mapping[str, str] | None = None) -> None:
        self.width, self.height = width, height
        self.dots = [[0] * width for _ in range(height)]
        self.layers: list[list[str]] = [[""] * width for _ in range(height)]
        self.signs: list[list[str]] = [[""] * width for _ in range(height)]
        self.braille, self._of_layer = braille, signs or {}

    def dot(self, x: int, y: int, layer: str) -> None:
        """Set the dot in dot column ``x`` (0 left) and dot row ``y`` (0 top); nothing outside the canvas."""
        column, row = x >> 1, y >> 2
        if not (0 <= column < self.width and 0 <= row < self.height):
            return
        if self.layers[row][column] != layer:
            self.layers[row][column] = layer
            self.dots[row][column] = 0
        self.dots[row][column] |= _BITS[y & 3][x & 1]

    def span(self, x: int, top: int, bottom: int, layer: str) -> None:
        """Set the dots of one dot column between two dot rows, both included."""
        for y in range(max(0, top), min(self.height * 4 - 1, bottom) + 1):
            self.dot(x, y, layer)

    def sign(self, column: int, row: int, sign: str, layer: str) -> None:
        """Put a character into a cell; nothing outside the canvas."""
        if 0 <= column < self.width and 0 <= row < self.height:
            self.signs[row][column] = sign
            self.layers[row][column] = layer

    def empty(self, column: int, row: int) -> bool:
        """Whether there is nothing in a cell."""
        return not self.signs[row][column] and not self.dots[row][column]

    def row(self, y: int) -> list[tuple[str, str]]:
        """Row ``y`` as (text, layer) runs; the layer of blank cells is empty."""
        runs: list[tuple[str, str]] = []
        for column in range(self.width):
            layer = self.layers[y][column]
            text = self.signs[y][column] or self._character(self.dots[y][column], layer)
            layer = layer if text != " " else ""
            if runs and runs[-1][1] == layer:
                runs[-1] = (runs[-1][0] + text, layer)
            else:
                runs.append((text, layer))
        return runs

    def _character(self, dots: int, layer: str) -> str:
        if not dots:
            return " "
        if self.braille:
            return chr(0x2800 + dots)
        upper, lower = dots & 0b00011011, dots & 0b11100100
        return self._of_layer.get(layer) or (":" if upper and lower else ("'" if upper else "."))


Dash = Sequence[int]
"""Dot columns on, off, on, off, …, over and over; empty: a line without gaps."""


def draw_range(canvas: Canvas, series: Series, window: Window, layer: str, dash: Dash = ()) -> None:
    """Every point of a series, none lost: joined where there is room for each, else from minimum to maximum of each dot column."""
    wide, tall = canvas.width * 2, canvas.height * 4
    visible = series.between(window.x_low, window.x_high)
    if visible.stop - visible.start <= wide:
        near = slice(max(0, visible.start - 1), visible.stop + 1)
        return draw_line(canvas, list(zip(series.xs[near], series.ys[near])), window, layer, dash)
    on = _pattern(dash)
    for x, extent in enumerate(series.columns(window.x_low, window.x_high, wide)):
        if extent is not None and on[x % len(on)]:
            canvas.span(x, round(window.down(extent[1], tall)), round(window.down(extent[0], tall)), layer)


def draw_line(canvas: Canvas, points: Sequence[tuple[float, float]], window: Window, layer: str, dash: Dash = ()) -> None:
    """Points joined by straight lines, with the gaps of a dash."""
    wide, tall = canvas.width * 2, canvas.height * 4
    on = _pattern(dash)
    previous: tuple[float, float] | None = None
    for x, y in points:
        place = (window.across(x, wide), window.down(y, tall))
        for column, row in _between(previous or place, place, wide, tall):
            if on[column % len(on)]:
                canvas.dot(column, row, layer)
        previous = place


def draw_points(canvas: Canvas, series: Series, window: Window, sign: str, layer: str) -> None:
    """A sign for each point."""
    visible = series.between(window.x_low, window.x_high)
    for x, y in zip(series.xs[visible], series.ys[visible]):
        canvas.sign(*cell_of(canvas, window, x, y), sign, layer)


def cell_of(canvas: Canvas, window: Window, x: float, y: float) -> tuple[int, int]:
    """Column and row of the cell that a point lies in; outside the canvas where it does."""
    return round(window.across(x, canvas.width * 2)) // 2, round(window.down(y, canvas.height * 4)) // 4


def _pattern(dash: Dash) -> list[bool]:
    return [number % 2 == 0 for number, length in enumerate(dash) for _ in range(length)] or [True]


def _between(start: tuple[float, float], end: tuple[float, float], wide: int, tall: int) -> list[tuple[int, int]]:
    """The dots from one place to another, without what lies outside (Liang and Barsky 1984)."""
    (x0, y0), (x1, y1) = start, end
    dx, dy = x1 - x0, y1 - y0
    first, last = 0.0, 1.0
    for along, room in ((-dx, x0 + 0.5), (dx, wide - 0.5 - x0), (-dy, y0 + 0.5), (dy, tall - 0.5 - y0)):
        if along == 0:
            if room < 0:
                return []
        elif along < 0:
            first = max(first, room / along)
        else:
            last = min(last, room / along)
    if first > last:
        return []
    steps = max(1, math.ceil(max(abs(dx), abs(dy)) * (last - first)))
    shares = [first + (last - first) * step / steps for step in range(steps + 1)]
    return [(round(x0 + dx * share), round(y0 + dy * share)) for share in shares]
