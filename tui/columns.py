"""Two columns of text: a short head, and beside it a text that wraps without running below the head."""

from __future__ import annotations

from textual.content import Content

_NARROWEST = 16


def hanging(head: Content, text: Content, width: int, column: int) -> Content:
    """``text`` from ``column`` on, each of its lines, in ``width`` cells; the head has what is left of it.

    Where that would leave the text too narrow to be read, it stands below the head instead, moved in by four.
    """
    column = max(column, head.cell_length + 1)
    if width - column < _NARROWEST:
        lines = [head, *(Content.assemble("    ", line) for line in text.wrap(max(_NARROWEST, width - 4)))]
    else:
        first, *rest = text.wrap(width - column) or [Content("")]
        lines = [Content.assemble(head, " " * (column - head.cell_length), first), *(Content.assemble(" " * column, line) for line in rest)]
    return Content("\n").join(lines)
