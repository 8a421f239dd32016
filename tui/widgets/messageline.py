"""The line that messages are written in: one line high, though a message may have several."""

from __future__ import annotations

from textual import events
from textual.message import Message
from textual.widgets import Input


class MessageLine(Input):
    """An input whose line ends are shown as a sign, so that pasted and saved prompts keep theirs."""

    class Stopped(Message):
        """``ctrl+x`` with nothing to cut: an answer is to be stopped."""

    def __init__(self, sign: str, *, id: str | None = None) -> None:
        super().__init__(placeholder="say something, enter sends", id=id, select_on_focus=False)
        self.sign = sign
        self.cursor_blink = False

    @property
    def text(self) -> str:
        """The message."""
        return self.value.replace(self.sign, "\n")

    def put(self, text: str) -> None:
        """Replace the message; the cursor stands at its end."""
        self.value = self._in_one_line(text)
        self.cursor_position = len(self.value)
        self.focus()

    def break_line(self) -> None:
        """A line end at the cursor."""
        self.insert_text_at_cursor(self.sign)

    def on_key(self, event: events.Key) -> None:
        """An input would take ``ctrl+x`` for cutting, and nothing could be stopped while the cursor is here."""
        if event.key == "ctrl+x" and self.selection.is_empty:
            event.stop()
            event.prevent_default()
            self.post_message(self.Stopped())

    def on_paste(self, event: events.Paste) -> None:
        """All lines of what is pasted; Textual's own input would take the first."""
        self.insert_text_at_cursor(self._in_one_line(event.text))
        event.stop()
        event.prevent_default()

    def _in_one_line(self, text: str) -> str:
        return self.sign.join(text.splitlines())
