"""The loss curve: raw values faint, their moving average over them, evaluations as points, axes with round numbers."""

from __future__ import annotations

import math

from rich.segment import Segment
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from ..glyphs import UNICODE, Glyphs
from .braille import Canvas, Series, Smoothed, Window, draw, tick_label, ticks


def _rounded_end(first: float, last: float) -> float:
    """A little beyond ``last``, the same for many steps: while it stands, only the end of the curve changes."""
    grain = 2.0 ** math.floor(math.log2(max(last - first, 16.0))) / 8
    return first + math.ceil(max(last - first, 1.0) / grain) * grain


def _rounded_range(low: float, high: float) -> tuple[float, float]:
    """A little beyond both ends, the same for most new values."""
    if high <= low:
        room = abs(high) * 0.05 or 0.5
        return low - room, high + room
    grain = 2.0 ** math.floor(math.log2(high - low)) / 16
    return (math.floor(low / grain) - 0.5) * grain, (math.ceil(high / grain) + 0.5) * grain


class Plot(Widget):
    """Series over steps, with axes. What is drawn, its owner says; `show` redraws the lines that changed, at most twice a second."""

    COMPONENT_CLASSES = {"plot--axis", "plot--label"}
    DEFAULT_CSS = """
    Plot {
        height: 1fr; min-height: 4;
        & > .plot--axis { color: $rule; }
        & > .plot--label { color: $muted; }
    }
    """

    def __init__(self, *, id: str | None = None, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self._rows: list[list[tuple[str, str]]] = []

    def known(self) -> list[Series]:
        """Every point there is, for the range of the axes."""
        return []

    def draw_into(self, canvas: Canvas, window: Window) -> None:
        """Draw what is to be seen."""

    def window(self) -> Window | None:
        """The values shown: all of them, with a little room above and below; ``None`` before the first finite point."""
        series = self.known()
        ys = [y for one in series for y in one.ys if math.isfinite(y)]
        if not ys:
            return None
        first, last = min(one.xs[0] for one in series if one.xs), max(one.xs[-1] for one in series if one.xs)
        return Window(first, _rounded_end(first, last), *_rounded_range(min(ys), max(ys)))

    def show(self) -> None:
        """Draw again; only the lines that differ from the last drawing are sent to the terminal."""
        rows = self._draw(self.size.width, self.size.height)
        if len(rows) != len(self._rows):
            self._rows = rows
            self.refresh()
            return
        changed = [Region(0, y, self.size.width, 1) for y, row in enumerate(rows) if row != self._rows[y]]
        self._rows = rows
        if changed:
            self.refresh(*changed)

    def on_resize(self) -> None:
        """The grid depends on the size."""
        self._rows = self._draw(self.size.width, self.size.height)
        self.refresh()

    def render_line(self, y: int) -> Strip:
        """One line of the drawing."""
        if y >= len(self._rows):
            return Strip.blank(self.size.width, self.rich_style)
        base = self.rich_style
        segments = [
            Segment(text, base + self.get_component_rich_style(f"plot--{layer}", partial=True) if layer else base)
            for text, layer in self._rows[y]
        ]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _draw(self, width: int, height: int) -> list[list[tuple[str, str]]]:
        window = self.window()
        if width < 16 or height < 4:
            return []
        if window is None:
            return [[("", "")]] * (height // 2) + [[(" " * max(0, width // 2 - 12) + "waiting for the first step", "label")]]
        marks = ticks(window.y_low, window.y_high, max(3, min(8, (height - 2) * 2 // 5)))
        step = marks[1] - marks[0] if len(marks) > 1 else 1.0
        labels = [tick_label(mark, step) for mark in marks]
        gutter = max((len(label) for label in labels), default=1) + 1
        if width - gutter < 10:
            return []
        canvas = Canvas(width - gutter - 2, height - 2, self.glyphs.braille)
        self.draw_into(canvas, window)
        at = {self._row_of(mark, window, height - 2): label for mark, label in zip(marks, labels)}
        rows: list[list[tuple[str, str]]] = []
        for y in range(height - 2):
            label = at.get(y, "")
            axis = self.glyphs.axis if label else self.glyphs.axis_line
            rows.append([(label.rjust(gutter), "label"), (axis, "axis"), *canvas.row(y)])
        return [*rows, *self._x_axis(window, gutter, canvas.width)]

    @staticmethod
    def _row_of(value: float, window: Window, height: int) -> int:
        share = (window.y_high - value) / ((window.y_high - window.y_low) or 1.0)
        return round(share * (height * 4 - 1)) // 4

    def _x_axis(self, window: Window, gutter: int, width: int) -> list[list[tuple[str, str]]]:
        marks = ticks(window.x_low, window.x_high, max(1, width // 14))
        step = marks[1] - marks[0] if len(marks) > 1 else 1.0
        line = [self.glyphs.rule] * width
        below = [" "] * width
        for mark in marks:
            at = round((mark - window.x_low) / ((window.x_high - window.x_low) or 1.0) * (width - 1))
            label = tick_label(mark, step)
            start = min(max(0, at - len(label) // 2), width - len(label))
            if all(cell == " " for cell in below[max(0, start - 1) : start + len(label) + 1]):
                line[at] = self.glyphs.tick
                below[start : start + len(label)] = label
        word = "step"
        if below[-len(word) - 1 :] == [" "] * (len(word) + 1):
            below[-len(word) :] = word
        return [
            [(" " * gutter, ""), (self.glyphs.corner + "".join(line), "axis")],
            [(" " * (gutter + 1) + "".join(below), "label")],
        ]


class LossPlot(Plot):
    """Training loss, its moving average and the evaluation loss over steps.

    `add` takes points as they come; `show` redraws the lines that changed. The owner calls `show` at most twice a second.
    """

    COMPONENT_CLASSES = {"plot--raw", "plot--mean", "plot--eval"}
    DEFAULT_CSS = """
    LossPlot {
        & > .plot--raw { color: $faint; }
        & > .plot--mean { color: $accent; }
        & > .plot--eval { color: $warning; text-style: bold; }
    }
    """

    def __init__(self, *, id: str | None = None, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id=id, glyphs=glyphs)
        self.clear()

    def clear(self) -> None:
        """Forget every point."""
        self.raw = Series("raw", "range")
        self.evaluations = Series("eval", "points")
        self.smoothed = Smoothed()
        self._rows: list[list[tuple[str, str]]] = []

    def add(self, step: float, loss: float) -> None:
        """One training loss; steps that were trained before (a resumed attempt) are replaced."""
        while self.raw.xs and self.raw.xs[-1] >= step:
            self.raw.xs.pop()
            self.raw.ys.pop()
            self.smoothed.pop()
        self.raw.xs.append(step)
        self.raw.ys.append(loss)
        self.smoothed.add(step, loss)

    def add_evaluation(self, step: float, loss: float) -> None:
        """One evaluation loss."""
        while self.evaluations.xs and self.evaluations.xs[-1] >= step:
            self.evaluations.xs.pop()
            self.evaluations.ys.pop()
        self.evaluations.xs.append(step)
        self.evaluations.ys.append(loss)

    def known(self) -> list[Series]:
        """Training and evaluation losses."""
        return [self.raw, self.evaluations]

    def draw_into(self, canvas: Canvas, window: Window) -> None:
        """Raw values, their average over them, evaluations on top."""
        mean = Series("mean", "line", *self.smoothed.curve(window, canvas.width * 2))
        for series in (self.raw, mean, self.evaluations):
            draw(canvas, series, window, self.glyphs.point)
