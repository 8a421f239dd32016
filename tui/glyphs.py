"""Every sign the screen draws, in Unicode and in ASCII (``ascii = true`` in the configuration).

A state is always a glyph and a word, so that it is never told by colour alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rich.cells import cell_len


@dataclass(frozen=True)
class Glyphs:
    """One set of signs."""

    full: str = "▇"
    other: str = "▅"
    """In the place of ``full``, so that neighbours can be told apart without colour."""
    empty: str = "░"
    levels: str = "▁▂▃▄▅▆▇█"
    changed: str = "●"
    folded: str = "▸"
    open: str = "▾"
    arrow: str = "→"
    down: str = "↓"
    up: str = "↑"
    dot: str = "·"
    branch: str = "└"
    rule: str = "─"
    axis: str = "┤"
    axis_line: str = "│"
    corner: str = "└"
    tick: str = "┬"
    point: str = "○"
    ellipsis: str = "…"
    marked: str = "✓"
    warning: str = "!"
    opens: str = "«"
    closes: str = "»"
    line_end: str = "↵"
    braille: bool = True
    states: dict[str, str] = field(
        default_factory=lambda: {
            "queued": "⧗", "starting": "◌", "running": "▶", "stopping": "◼",
            "stopped": "■", "succeeded": "✔", "failed": "✖", "lost": "?",
        }
    )  # fmt: skip


UNICODE = Glyphs()
ASCII = Glyphs(
    full="#", other="=", empty=".", levels="._-=+*%#", changed="*", folded=">", open="v", arrow="->", down="v", up="^", dot="-", branch="`",
    rule="-", axis="+", axis_line="|", corner="+", tick="+", point="o", ellipsis="...", marked="x", opens="<<", closes=">>", line_end="\\n",
    braille=False,
    states={
        "queued": "~", "starting": "o", "running": ">", "stopping": "#",
        "stopped": "#", "succeeded": "+", "failed": "x", "lost": "?",
    },
)  # fmt: skip

STATE_STYLES: dict[str, str] = {
    "queued": "$muted", "starting": "$accent", "running": "$accent", "stopping": "$warning",
    "stopped": "$warning", "succeeded": "$success", "failed": "$error", "lost": "$error",
}  # fmt: skip


def bar(share: float, width: int, glyphs: Glyphs = UNICODE) -> str:
    """A bar of ``width`` cells, filled to ``share`` (0 to 1)."""
    filled = round(min(1.0, max(0.0, share)) * width)
    return glyphs.full * filled + glyphs.empty * (width - filled)


def spark(values: Sequence[float], width: int, glyphs: Glyphs = UNICODE, *, full: float | None = None) -> str:
    """The last ``width`` values as a line of block heights; a blank for one that is not a number.

    Args:
        full: what the highest block stands for, over 0; none: the values' own range.
    """
    shown = values[-width:]
    known = [value for value in shown if value == value]
    if not known:
        return ""
    low, high = (0.0, full) if full else (min(known), max(known))
    top = len(glyphs.levels) - 1

    def level(value: float) -> str:
        if value != value:
            return " "
        return glyphs.levels[round(min(1.0, (value - low) / (high - low)) * top) if high > low else top // 2]

    return "".join(map(level, shown))


def shorten(text: str, width: int, glyphs: Glyphs = UNICODE) -> str:
    """``text`` cut to ``width`` cells, the cut marked; a Chinese character takes two."""
    text = " ".join(text.split())
    if cell_len(text) <= width:
        return text
    return beginning(text, width - len(glyphs.ellipsis)) + glyphs.ellipsis


def shorten_middle(name: str, width: int, glyphs: Glyphs = UNICODE) -> str:
    """As `shorten`, for names that begin alike: most of what is left is their end."""
    left = width - len(glyphs.ellipsis)
    if cell_len(name) <= width or left < 4:
        return shorten(name, width, glyphs)
    start = beginning(name, left // 3)
    return start + glyphs.ellipsis + beginning(name[::-1], left - cell_len(start))[::-1]


def beginning(text: str, width: int) -> str:
    """As much of the start of ``text`` as fits into ``width`` cells."""
    used = 0
    for number, character in enumerate(text):
        used += cell_len(character)
        if used > width:
            return text[:number]
    return text


def padded(text: str, width: int) -> str:
    """``text`` filled up with blanks to ``width`` cells."""
    return text + " " * (width - cell_len(text))
