"""A text to be read: scrolls with the keys that lists move with."""

from __future__ import annotations

from textual.containers import VerticalScroll
from textual.scrollbar import ScrollBarRender

from ..actions import Acting, bindings


class Reading(Acting, VerticalScroll, can_focus=True):
    """A scrolling pane around a text that is longer than the screen."""

    BINDINGS = bindings("list")
    DEFAULT_CSS = "Reading { scrollbar-size-vertical: 1; }"

    def why_not(self, name: str) -> str:
        """Texts have no lines to mark."""
        return "there is nothing to mark here" if name == "mark" else ""

    def do_down(self) -> None:
        self.scroll_down(animate=False)

    def do_up(self) -> None:
        self.scroll_up(animate=False)

    def do_first(self) -> None:
        self.scroll_home(animate=False)

    def do_last(self) -> None:
        self.scroll_end(animate=False)

    def do_half_down(self) -> None:
        self.scroll_relative(y=self.size.height // 2, animate=False)

    def do_half_up(self) -> None:
        self.scroll_relative(y=-(self.size.height // 2), animate=False)

    def do_mark(self) -> None:
        """See `why_not`."""


class AsciiBars(ScrollBarRender):
    """Scrollbars without the block characters that smooth their ends."""

    VERTICAL_BARS = [" "] * 8
    HORIZONTAL_BARS = [" "] * 8
