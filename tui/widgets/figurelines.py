"""A text whose lines change often, each by itself: only those that differ are drawn again."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Region
from textual.widget import Widget


class FigureLines(Widget):
    """Lines of figures, as high as they are many. (`Static` draws itself as a whole for every digit.)"""

    DEFAULT_CSS = "FigureLines { height: auto; }"

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._text = Content("")

    def render(self) -> Content:
        """The text as it is."""
        return self._text

    def show(self, text: Content) -> None:
        """Show a text, one line of it for each on the screen; where one is too long, and wraps, everything is drawn."""
        before, after = self._text.split("\n", allow_blank=True), text.split("\n", allow_blank=True)
        if text.is_same(self._text):
            return
        self._text = text
        width = self.size.width
        if len(before) != len(after) or any(line.cell_length > width for line in (*before, *after)):
            self.refresh(layout=True)
        else:
            self.refresh(*(Region(0, y, width, 1) for y, (old, new) in enumerate(zip(before, after)) if not old.is_same(new)))
