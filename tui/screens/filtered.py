"""What all screens with a filter over a list do alike."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from textual import events
from textual.screen import Screen
from textual.widgets import Input

from ..widgets.filterline import FilterLine

_Base = Screen[Any] if TYPE_CHECKING else object


class Filtered(_Base):
    """Mixed into a view with a `FilterLine`; `show_filtered` is its own.

    Attributes:
        FILTERED: selector of the widget that has the focus while nobody types.
    """

    FILTERED: ClassVar[str]

    def show_filtered(self) -> None:
        """Show what the filter lets through."""
        raise NotImplementedError

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter while typing."""
        self.show_filtered()

    def on_filter_line_closed(self, event: FilterLine.Closed) -> None:
        """Back to what is filtered."""
        self.query_one(self.FILTERED).focus()
        self.show_filtered()

    def on_key(self, event: events.Key) -> None:
        """Esc clears a filter before it does anything else."""
        line = self.query_one(FilterLine)
        if event.key == "escape" and line.value:
            event.stop()
            event.prevent_default()
            line.clear_and_close()

    def do_filter(self) -> None:
        """Open the line."""
        self.query_one(FilterLine).open()
