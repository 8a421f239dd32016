"""A rule with a title in it, one line high: for titles that change often (a border's title redraws the whole pane)."""

from __future__ import annotations

from textual.content import Content
from textual.widgets import Static

from ..glyphs import UNICODE, Glyphs


class RuleLine(Static):
    """``── title ─────────``."""

    DEFAULT_CSS = "RuleLine { height: 1; }"

    def __init__(self, *, id: str | None = None, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self._title = Content("")

    def say(self, title: Content) -> None:
        """Show a title, where it differs from the present one."""
        if not title.is_same(self._title):
            self._title = title
            self._draw()

    def on_resize(self) -> None:
        """The rule goes to the edge."""
        self._draw()

    def _draw(self) -> None:
        rule = self.glyphs.rule
        rest = max(0, self.size.width - self._title.cell_length - 4)
        self.update(Content.assemble((rule * 2 + " ", "$rule"), self._title, (" " + rule * rest, "$rule")), layout=False)
