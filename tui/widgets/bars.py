"""The first and the last line of the screen: where one is, and which keys do something here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual import events
from textual.content import Content
from textual.widgets import Input, Static

from ..actions import Acting, Action, by_id, of_scope
from ..keymap import typed_by

if TYPE_CHECKING:
    from ..app import FineTuiApp

VIEWS = ("app.home", "app.catalog", "app.chat", "app.compare", "app.doctor")


class ClickableLine(Static):
    """One line of text, parts of which do an action when clicked."""

    if TYPE_CHECKING:
        app: FineTuiApp  # type: ignore[assignment]

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.places: list[tuple[int, int, Action]] = []
        """First column, column after the last, and the action, without padding."""

    async def on_click(self, event: events.Click) -> None:
        """Do what is written there."""
        column = event.x - self.styles.padding.left
        for start, end, action in self.places:
            if start <= column < end:
                owner: Any = self.app if action.scope == "app" else self.screen
                result = owner.action_act(action.id)
                if result is not None:
                    await result


class TopBar(ClickableLine):
    """Name, views with their numbers, and the machine at the right."""

    DEFAULT_CSS = "TopBar { dock: top; height: 1; padding: 0 1; color: $muted; }"

    def on_mount(self) -> None:
        """First drawing."""
        self.show()

    def on_resize(self) -> None:
        """The machine stays at the right edge."""
        self.show()

    def show(self) -> None:
        """Draw: the current view is bold, underlined and in the accent colour."""
        left: list[Any] = [("FineTUI", "bold $accent"), "  "]
        self.places, used = [], 9
        for action in map(by_id, VIEWS):
            here = self.app.current_view == action.name
            label = f"{self.app.keymap.label(self.app.keymap.keys(action)[0])} {action.title}"
            left += [(label, "bold underline $foreground" if here else "$muted"), "  "]
            self.places.append((used, used + len(label), action))
            used += len(label) + 2
        start = Content.assemble(*left)
        machine = self.app.machine_line
        room = self.size.width - 2 - start.cell_length - cell_len(machine)
        self.update(Content.assemble(start, " " * room, (machine, "$faint")) if room > 0 else start, layout=False)


class KeyBar(ClickableLine):
    """Keys of the screen in the order of the registry, Help and Quit first; grey where something speaks against it."""

    DEFAULT_CSS = "KeyBar { dock: bottom; height: 1; padding: 0 1; }"

    def __init__(self, scope: str, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.scope = scope
        self._shown: Content | None = None

    def on_mount(self) -> None:
        """First drawing."""
        self.show()

    def on_resize(self) -> None:
        """More or fewer keys fit."""
        self._shown = None
        self.show()

    def show(self) -> None:
        """Draw the keys that fit."""
        parts: list[Any] = []
        self.places, used = [], 0
        typing = isinstance(self.screen.focused, Input)
        for action in self._actions():
            key = self._usable_key(action, typing)
            if not key:
                continue
            width = cell_len(key) + len(action.title) + 3
            if used + width > self.size.width - 1:
                break
            self.places.append((used, used + width - 2, action))
            used += width
            owner = self.app if action.scope == "app" else self.screen
            off = isinstance(owner, Acting) and owner.why_not(action.name)
            parts += [(key, "$faint" if off else "bold $accent"), (f" {action.title}  ", "$faint" if off else "$muted")]
        shown = Content.assemble(*parts)
        if self._shown is None or not shown.is_same(self._shown):
            self._shown = shown
            self.update(shown, layout=False)

    def _actions(self) -> list[Action]:
        general = [by_id("app.help"), by_id("app.quit")]
        return [*general, *(a for a in of_scope(self.scope) if a.footer), by_id("app.palette")]

    def _usable_key(self, action: Action, typing: bool) -> str:
        """The first key of an action that is not taken by a text input in focus."""
        for key in self.app.keymap.keys(action):
            if not (typing and typed_by(key)):
                return self.app.keymap.label(key)
        return ""
