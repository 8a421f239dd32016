"""Curves of runs over one another: each has a letter at its end, a dash and a colour, so that none of these alone is needed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from ..glyphs import Glyphs
from .axes import Runs
from .braille import Canvas, Dash, Window, cell_of, draw_line, draw_points, draw_range
from .series import Series
from .ticks import rounded_range
from .view import View

LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLOURS = ("$accent", "$warning", "$success", "$error", "$foreground", "$muted")
"""Of the curves, in turn."""
DASHES: tuple[Dash, ...] = ((), (8, 4), (2, 4), (8, 2, 2, 2), (4, 8))
"""Of the curves, in turn: dot columns on and off."""
ALONE, RAW = "*", "."
"""Without braille: signs of the only curve, and of its single values. Several curves are drawn with their letters."""
_SAMPLE = 6
"""Cells of a dash in the legend."""


def letter_of(number: int) -> str:
    """The letter of curve ``number``."""
    return LETTERS[number % len(LETTERS)]


def colour_of(number: int) -> str:
    """The colour of curve ``number``."""
    return COLOURS[number % len(COLOURS)]


def layer_of(number: int) -> str:
    """The name of its style."""
    return f"c{number % len(LETTERS)}"


@dataclass
class Curve:
    """One run's figures over its steps.

    Attributes:
        number: which letter, dash and colour it has.
        name: of the run.
        series: drawn as a moving average.
        points: drawn as signs, with what is written beside them in the legend; evaluations.
    """

    number: int
    name: str = ""
    series: Series = field(default_factory=Series)
    points: Series | None = None


@dataclass
class Picture:
    """What a plot shows.

    Attributes:
        curves: in the order of the legend.
        title: what the values are.
        write: a value as text.
        front: number of the curve that lies on top, in bold; -1: none.
        raw: whether the single values of the front (or only) curve lie under its average.
        smooth: whether averages are drawn; else the values as they are.
        waiting: said where there is no value at all.
    """

    curves: Sequence[Curve] = ()
    title: str = ""
    write: Callable[[float], str] = "{:.3f}".format
    front: int = -1
    raw: bool = False
    smooth: bool = True
    waiting: str = "waiting for the first step"

    @property
    def steps(self) -> tuple[float, float] | None:
        """First and last step of all curves; ``None`` before there is one."""
        series = [one for curve in self.curves for one in (curve.series, curve.points) if one]
        return (min(one.xs[0] for one in series), max(one.xs[-1] for one in series)) if series else None

    @property
    def main(self) -> Curve | None:
        """The curve that the cursor follows: the front one, else the first with values."""
        ordered = sorted(self.curves, key=lambda curve: curve.number != self.front)
        return next((curve for curve in ordered if curve.series), next((curve for curve in ordered if curve.points), None))


Lines = dict[int, list[tuple[float, float]]]
"""Points of each curve's average, by number."""


def averages(picture: Picture, view: View, low: float, high: float, count: int) -> Lines:
    """What is drawn as lines; nothing of curves whose single values are drawn instead."""
    if not view.share or not picture.smooth:
        return {}
    return {curve.number: curve.series.smoothed(low, high, count, view.share) for curve in picture.curves if curve.series}


def window_of(picture: Picture, view: View, low: float, high: float, lines: Lines) -> Window | None:
    """The rectangle that holds what is seen, with a little room; ``None`` where there is no value that can be drawn."""
    values: list[float] = []
    for curve in picture.curves:
        if curve.number in lines:
            values += [y for x, y in lines[curve.number] if low <= x <= high]
        if curve.number not in lines or (picture.raw and curve is picture.main):
            values += _extremes(curve.series, low, high, view.log)
        if curve.points:
            values += _extremes(curve.points, low, high, view.log)
    if view.log:
        values = [y for y in values if y > 0]
    if not values:
        return None
    if view.log:
        from math import log10

        return Window(low, high, *rounded_range(log10(min(values)), log10(max(values))), log=True)
    return Window(low, high, *rounded_range(min(values), max(values)))


def _extremes(series: Series, low: float, high: float, positive: bool) -> list[float]:
    part = series.ys[series.between(low, high)]
    if positive and part and min(part) <= 0:
        above = [y for y in part if y > 0]
        return [min(above), max(above)] if above else []
    return [min(part), max(part)] if part else []


def signs_of(picture: Picture) -> dict[str, str]:
    """Without braille: the character that each layer is drawn with."""
    several = len(picture.curves) > 1
    signs = {layer_of(curve.number): letter_of(curve.number) if several else ALONE for curve in picture.curves}
    return {**signs, "front": letter_of(picture.front) if several else ALONE, "raw": RAW}


def draw_curves(canvas: Canvas, picture: Picture, window: Window, lines: Lines, glyphs: Glyphs) -> None:
    """Every curve, the one in front last; points over them, and the letters, which nothing hides."""
    ordered = sorted(picture.curves, key=lambda curve: curve.number == picture.front)
    main = picture.main
    if picture.raw and main is not None and main.number in lines:
        draw_range(canvas, main.series, window, "raw")
    for curve in ordered:
        layer, dash = _look(curve, picture)
        if curve.number in lines:
            draw_line(canvas, lines[curve.number], window, layer, dash)
        else:
            draw_range(canvas, curve.series, window, layer, dash)
    for curve in ordered:
        if curve.points:
            draw_points(canvas, curve.points, window, glyphs.point, "points")
    if len(picture.curves) > 1:
        _letters(canvas, picture, window, lines)


def _look(curve: Curve, picture: Picture) -> tuple[str, Dash]:
    layer = "front" if curve.number == picture.front else layer_of(curve.number)
    return layer, DASHES[curve.number % len(DASHES)]


def _letters(canvas: Canvas, picture: Picture, window: Window, lines: Lines) -> None:
    """A letter at the last point in sight of each curve; curves that end at one place keep their letters apart."""
    taken: set[tuple[int, int]] = set()
    for curve in sorted(picture.curves, key=lambda curve: curve.number != picture.front):
        visible = curve.series.between(window.x_low, window.x_high)
        if visible.start == visible.stop:
            continue
        x, y = curve.series.xs[visible.stop - 1], curve.series.ys[visible.stop - 1]
        x, y = next((point for point in reversed(lines.get(curve.number, [])) if point[0] <= window.x_high), (x, y))
        column, row = cell_of(canvas, window, x, y)
        row = max(0, min(canvas.height - 1, row))
        while (column, row) in taken and column > 0:
            column -= 1
        taken.add((column, row))
        canvas.sign(column, row, letter_of(curve.number), _look(curve, picture)[0])


def draw_cursor(canvas: Canvas, picture: Picture, window: Window, step: float, lines: Lines, glyphs: Glyphs) -> None:
    """A line through what is empty at the step, and a mark on each curve."""
    column = round(window.across(step, canvas.width * 2)) // 2
    if not 0 <= column < canvas.width:
        return
    for row in range(canvas.height):
        if canvas.empty(column, row):
            canvas.sign(column, row, glyphs.axis_line, "cursor")
    for curve in picture.curves:
        value = _value_at(curve, step, lines, picture)
        if value is not None:
            canvas.sign(column, cell_of(canvas, window, step, value)[1], glyphs.changed, _look(curve, picture)[0])


def _value_at(curve: Curve, step: float, lines: Lines, picture: Picture) -> float | None:
    """Of a curve at a step: its own value where single values are drawn, else its average; ``None`` outside of it."""
    series = curve.series
    if not series or not series.xs[0] <= step <= series.xs[-1]:
        return None
    place = series.nearest(step)
    if curve.number not in lines or (picture.raw and curve is picture.main):
        return series.ys[place]
    return min(lines[curve.number], key=lambda point: abs(point[0] - step))[1]


def read_out(picture: Picture, view: View, step: float, lines: Lines) -> Runs:
    """The values at the cursor, in words."""
    said: Runs = [(f"step {step:,.0f}", "title")]
    several = len(picture.curves) > 1
    for curve in picture.curves:
        value = _value_at(curve, step, lines, picture)
        name = letter_of(curve.number) if several else picture.title.lower()
        said += [(f"  {name} ", _look(curve, picture)[0]), (picture.write(value) if value is not None else "-", "title")]
        if not several and picture.raw and curve.number in lines and value is not None:
            place = curve.series.nearest(step)
            said += [("  average ", "label"), (picture.write(curve.series.mean(place, curve.series.reach(view.share))), "title")]
        if curve.points and (place := curve.points.nearest(step)) >= 0:
            said += [("  evaluation ", "points"), (picture.write(curve.points.ys[place]), "title")]
            said += [(f" at {curve.points.xs[place]:,.0f}", "label")]
    return said


def legend(picture: Picture, view: View, glyphs: Glyphs, room: int) -> Runs:
    """What the signs mean, without the dashes where there is no room for them."""
    if len(picture.curves) > 1:
        full = _entries(picture, glyphs, dashes=True)
        return full if sum(len(text) for text, _ in full) <= room else _entries(picture, glyphs, dashes=False)
    said: Runs = []
    for curve in picture.curves:
        layer = _look(curve, picture)[0]
        if picture.raw and picture.smooth and view.share and curve.series:
            said += [("  " + _sample((), layer, picture, glyphs, 2), layer), (" average", "label")]
            said += [("  " + _sample((), "raw", picture, glyphs, 2, rough=True), "raw"), (" each step", "label")]
        if curve.points:
            said += [(f"  {glyphs.point}", "points"), (" evaluation", "label")]
    return said


def _entries(picture: Picture, glyphs: Glyphs, *, dashes: bool) -> Runs:
    said: Runs = []
    for curve in picture.curves:
        layer, dash = _look(curve, picture)
        said.append((f"  {letter_of(curve.number)}", layer))
        if dashes:
            said.append((_sample(dash, layer, picture, glyphs, _SAMPLE), layer))
        said.append((f" {curve.name}", "title" if curve.number == picture.front else "label"))
    return said


def _sample(dash: Dash, layer: str, picture: Picture, glyphs: Glyphs, width: int, *, rough: bool = False) -> str:
    """A piece of the line as it is drawn; ``rough``: going up and down, as single values do."""
    canvas = Canvas(width, 1, glyphs.braille, signs_of(picture))
    heights = [0.2, 1.9] * width if rough else [1.0] * 2
    last = len(heights) - 1
    draw_line(canvas, [(place / last, y) for place, y in enumerate(heights)], Window(0, 1, 0, 2), layer, dash)
    return "".join(text for text, _ in canvas.row(0))
