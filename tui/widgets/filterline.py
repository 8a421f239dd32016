"""The line that `/` opens: narrows a list while it is typed into; esc clears and closes it."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.widgets import Input


class FilterLine(Input):
    """A one-line input over a list; hidden until `open`."""

    class Closed(Message):
        """The line was left; ``text`` is what stays as the filter."""

        def __init__(self, text: str) -> None:
            super().__init__()
            self.text = text

    def __init__(self, *, id: str | None = None, placeholder: str = "filter: words that must all occur") -> None:
        super().__init__(placeholder=placeholder, id=id, select_on_focus=False)
        self.cursor_blink = False

    def open(self) -> None:
        """Show the line and put the cursor into it."""
        self.add_class("-open")
        self.focus()

    def clear_and_close(self) -> None:
        """Show everything again."""
        self.value = ""
        self.remove_class("-open")
        self.post_message(self.Closed(""))

    def on_key(self, event: events.Key) -> None:
        """Esc clears, enter and down go back to the list."""
        if event.key == "escape":
            event.stop()
            self.clear_and_close()
        elif event.key in ("enter", "down"):
            event.stop()
            event.prevent_default()
            self.set_class(bool(self.value), "-open")
            self.post_message(self.Closed(self.value))
