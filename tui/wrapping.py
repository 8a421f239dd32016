"""Lines of running text that fit a width: broken at blanks, and between any two characters of Chinese or Japanese."""

from __future__ import annotations

from collections.abc import Iterator

from rich.cells import cell_len

from .glyphs import beginning

_NEVER_FIRST = "，。、；：？！）】》〉」』”’…—～·,.;:?!)]}%％"
_NEVER_LAST = "（【《〈「『“‘([{"


def line_spans(text: str, width: int) -> Iterator[tuple[int, int]]:
    """Start and end of every line of ``text`` in ``width`` cells; blanks at which a line is broken belong to none."""
    start = 0
    for paragraph in text.split("\n"):
        end = start + len(paragraph)
        yield from _paragraph(text, start, end, max(2, width))
        start = end + 1


def _paragraph(text: str, start: int, end: int, width: int) -> Iterator[tuple[int, int]]:
    while True:
        fits = start + len(beginning(text[start : min(end, start + 4 * width)], width))
        if fits >= end:
            yield start, end
            return
        indent = start + len(text[start:fits]) - len(text[start:fits].lstrip(" "))
        cut = next((place for place in range(fits, indent, -1) if _may_break(text, place)), fits)
        yield start, start + len(text[start:cut].rstrip(" "))
        start = cut
        while start < end and text[start] == " ":
            start += 1


def _may_break(text: str, place: int) -> bool:
    """Whether a line may begin with ``text[place]``."""
    before, after = text[place - 1], text[place]
    if before == " " or after == " ":
        return True
    if after in _NEVER_FIRST or before in _NEVER_LAST or cell_len(after) == 0:
        return False
    return cell_len(before) == 2 or cell_len(after) == 2
