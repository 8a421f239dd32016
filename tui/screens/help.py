"""Every key there is, those of the focused pane first."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ..actions import SCOPE_TITLES, key_labels, of_scope
from .messages import Dialog

_LISTED_ANYWAY = {
    "list": [("enter", "Open or choose the line"), ("↑ ↓ PgUp PgDn home end", "Move")],
    "app": [("tab shift+tab", "Next pane, previous pane")],
    "chat": [("enter", "Send the message")],
    "pick": [("enter", "Take the line under the cursor")],
}
"""Keys that Textual's own widgets handle; the registry has the rest."""


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
            with VerticalScroll(classes="scroll", can_focus=True):
                yield Static(self._text(), classes="text", id="help-text")
            yield Static(Content("esc close  ↑ ↓ move  y copy  : find an action by name"), classes="keys")

    def on_mount(self) -> None:
        """Arrow keys scroll."""
        self.query_one(VerticalScroll).focus()

    def _text(self) -> Content:
        return Content("\n").join([self._section(scope) for scope in self.scopes])

    def _section(self, scope: str) -> Content:
        title = SCOPE_TITLES[scope] + (" (in focus)" if scope in self.in_focus and scope != "app" else "")
        lines = [Content.styled(title, "bold $accent")]
        rows = [(key_labels(action), action.tooltip) for action in of_scope(scope)]
        for keys, meaning in _LISTED_ANYWAY.get(scope, []) + rows:
            lines.append(Content.assemble((f"  {keys:<20}", "$foreground"), (" " + meaning, "$muted")))
        return Content("\n").join([*lines, Content("")])

    def text_to_copy(self) -> str:
        return self._text().plain

    def do_help(self) -> None:
        self.dismiss(None)
