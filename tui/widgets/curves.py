"""Loss curves of several runs over one another, each with a letter of its own at its end, so that colours are not needed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

from .braille import Canvas, Series, Smoothed, Window, draw
from .plot import Plot

LETTERS = "abcdefghijklmnopqrstuvwxyz"
COLOURS = ("$accent", "$warning", "$success", "$error", "$foreground", "$muted")
"""Of the curves, in turn."""


def letter_of(number: int) -> str:
    """The letter of curve ``number``."""
    return LETTERS[number % len(LETTERS)]


def colour_of(number: int) -> str:
    """The colour of curve ``number``."""
    return COLOURS[number % len(COLOURS)]


@dataclass
class Curve:
    """One run's losses.

    Attributes:
        number: which letter and colour it has.
        steps, losses: of training.
        evaluations: (step, loss).
    """

    number: int
    steps: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    evaluations: list[tuple[float, float]] = field(default_factory=list)


class Curves(Plot):
    """Overlaid curves; the chosen one lies on top."""

    COMPONENT_CLASSES = {f"plot--c{number}" for number in range(len(COLOURS))} | {"plot--front"}
    DEFAULT_CSS = "\n".join(
        ["Curves {", *(f"& > .plot--c{number} {{ color: {colour}; }}" for number, colour in enumerate(COLOURS)), "}"]
        + ["Curves { & > .plot--front { color: $foreground; text-style: bold; } }"]
    )

    curves: Sequence[Curve] = ()
    evaluations = False
    """Whether the evaluation losses are drawn instead of the training losses."""
    front = -1

    def put(self, curves: Sequence[Curve], *, front: int = -1, evaluations: bool = False) -> None:
        """Show these curves.

        Args:
            front: number of the curve that lies on top, in bold; -1: none.
        """
        self.curves, self.front, self.evaluations = curves, front, evaluations
        self.show()

    def known(self) -> list[Series]:
        """Averages of the training losses, or the evaluation losses as they are."""
        return [self._series(curve) for curve in self.curves]

    def draw_into(self, canvas: Canvas, window: Window) -> None:
        """Every curve, the one in front last; then the letters, which nothing hides."""
        ordered = sorted(self.curves, key=lambda curve: curve.number == self.front)
        ends: list[tuple[int, int, str, str]] = []
        for curve in ordered:
            series = self._series(curve)
            draw(canvas, series, window, self.glyphs.point)
            points = [(x, y) for x, y in zip(series.xs, series.ys) if math.isfinite(y)]
            if points:
                ends.append((*_place(canvas, window, *points[-1]), letter_of(curve.number), series.layer))
        taken: set[tuple[int, int]] = set()
        for x, y, letter, layer in reversed(ends):
            while (x, y) in taken and x > 0:  # curves that end at one place keep their letters apart
                x -= 1
            taken.add((x, y))
            canvas.sign(x * 2, y * 4, letter, layer)

    def _series(self, curve: Curve) -> Series:
        layer = "front" if curve.number == self.front else f"c{curve.number % len(COLOURS)}"
        if self.evaluations:
            return Series(layer, "line", [x for x, _ in curve.evaluations], [y for _, y in curve.evaluations])
        mean = Smoothed()
        for step, loss in zip(curve.steps, curve.losses):
            mean.add(step, loss)
        last = curve.steps[-1] if curve.steps else 0.0
        first = curve.steps[0] if curve.steps else 0.0
        return Series(layer, "line", *mean.curve(Window(first, max(last, first + 1e-9), 0, 1), max(2, self.size.width * 2)))


def _place(canvas: Canvas, window: Window, x: float, y: float) -> tuple[int, int]:
    """The cell of a point."""
    column = round((x - window.x_low) / ((window.x_high - window.x_low) or 1.0) * (canvas.width - 1))
    row = round((window.y_high - y) / ((window.y_high - window.y_low) or 1.0) * (canvas.height - 1))
    return min(canvas.width - 1, max(0, column)), min(canvas.height - 1, max(0, row))
