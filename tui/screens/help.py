"""Every key there is, those of the focused pane first."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ..actions import SCOPE_TITLES, of_scope
from ..columns import hanging
from ..widgets.reading import Reading
from .messages import Dialog

_LISTED_ANYWAY = {
    "list": [("enter", "Open or choose the line"), ("up down pageup pagedown home end", "Move")],
    "app": [("tab shift+tab", "Next pane, previous pane")],
    "chat": [("enter", "Send the message")],
    "pick": [("enter", "Take the line under the cursor")],
}
"""Keys that Textual's own widgets handle; the registry has the rest."""


_COLUMN = 20


class HelpScreen(Dialog):
    """The keys, from the registry of actions."""

    def __init__(self, scopes: list[str]) -> None:
        """
        Args:
            scopes: those in focus, innermost first.
        """
        super().__init__()
        self.scopes = [*scopes, *(scope for scope in SCOPE_TITLES if scope not in scopes)]
        self.in_focus = set(scopes)

    def compose(self) -> ComposeResult:
        """One section a scope."""
        with Vertical(classes="box -tall") as box:
            box.border_title = "Keys"
            with Reading(classes="scroll"):
                yield Static(classes="text", id="help-text")
            yield Static(Content(self.keys_line(("dialog.close", "close"), ("dialog.copy", "copy"), ("app.leave", "quit"))), classes="keys")

    def on_mount(self) -> None:
        """Keys scroll."""
        self.query_one(Reading).focus()

    def on_resize(self, event: events.Resize) -> None:
        """Sentences wrap at another place."""
        self.call_after_refresh(lambda: self.query_one("#help-text", Static).update(self._text(self.query_one("#help-text").size.width)))

    def _text(self, width: int) -> Content:
        return Content("\n").join([self._section(scope, width) for scope in self.scopes])

    def _section(self, scope: str, width: int) -> Content:
        title = SCOPE_TITLES[scope] + (" (in focus)" if scope in self.in_focus and scope != "app" else "")
        lines = [Content.styled(title, "bold $accent")]
        rows = [(self.app.keymap.labels(action), action.tooltip) for action in of_scope(scope)]
        others = [(" ".join(map(self.app.keymap.label, keys.split())), meaning) for keys, meaning in _LISTED_ANYWAY.get(scope, [])]
        for keys, meaning in others + rows:
            lines.append(hanging(Content.styled(f"  {keys}", "$foreground"), Content.styled(meaning, "$muted"), width, _COLUMN))
        return Content("\n").join([*lines, Content("")])

    def text_to_copy(self) -> str:
        return self._text(140).plain

    def do_help(self) -> None:
        self.dismiss(None)
