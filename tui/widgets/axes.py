"""The axes of a plot as lines of (text, layer) runs. No Textual here."""

from __future__ import annotations

from ..glyphs import Glyphs
from .braille import Window
from .ticks import log_ticks, tick_label, ticks

Runs = list[tuple[str, str]]
"""A line of text in pieces, each with the layer that styles it."""


def value_labels(window: Window, height: int) -> dict[int, str]:
    """What is written beside the rows of a plot of ``height`` cells: row → label."""
    count = max(4, min(8, height * 2 // 5))
    low, high = window.y_low, window.y_high
    marks = log_ticks(10.0**low, 10.0**high, count) if window.log else ticks(low, high, count)
    step = marks[1] - marks[0] if len(marks) > 1 else abs(marks[0]) if marks else 1.0
    decades = window.log and len(marks) > 1 and marks[-1] >= 2.9 * marks[0]
    labels = {}
    for mark in marks:
        row = round(window.down(mark, height * 4)) // 4
        if 0 <= row < height:
            labels.setdefault(row, tick_label(mark, mark if decades else step))
    return labels


def step_axis(window: Window, gutter: int, width: int, glyphs: Glyphs) -> list[Runs]:
    """The two lines below a plot: the rule with its ticks, and the steps under them."""
    marks = ticks(window.x_low, window.x_high, max(1, width // 14))
    step = marks[1] - marks[0] if len(marks) > 1 else 1.0
    line = [glyphs.rule] * width
    below = [" "] * width
    for mark in marks:
        if mark < 0 or mark != round(mark):  # there is no half a step
            continue
        at = round(window.across(mark, width))
        label = tick_label(mark, max(1.0, step))
        start = min(max(0, at - len(label) // 2), width - len(label))
        if all(cell == " " for cell in below[max(0, start - 1) : start + len(label) + 1]):
            line[at] = glyphs.tick
            below[start : start + len(label)] = label
    word = "step"
    if below[-len(word) - 1 :] == [" "] * (len(word) + 1):
        below[-len(word) :] = word
    return [
        [(" " * gutter, ""), (glyphs.corner + "".join(line), "axis")],
        [(" " * (gutter + 1) + "".join(below), "label")],
    ]
