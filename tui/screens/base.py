"""What every screen of ours shares: a line of views on top, a line of keys below, work in threads, errors as a modal."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from textual.app import ComposeResult
from textual.content import Content
from textual.message import Message
from textual.screen import Screen
from textual.widget import Widget

from ...core.errors import FineTUIError
from ..actions import Acting
from ..widgets.bars import KeyBar, TopBar

if TYPE_CHECKING:
    from ..app import FineTuiApp

T = TypeVar("T")


class Done(Message):
    """Work in a thread has ended: hand its value (or its error) to a function on the screen's side."""

    def __init__(self, receive: Callable[[Any], object], value: Any) -> None:
        super().__init__()
        self.receive, self.value = receive, value


class Working(Acting):
    """Runs functions in threads; only messages come back. Mixed into screens and dialogs."""

    if TYPE_CHECKING:
        app: FineTuiApp  # type: ignore[assignment]
        post_message: Callable[[Message], bool]

    def work(
        self,
        function: Callable[[], T],
        receive: Callable[[T], object],
        *,
        failed: Callable[[FineTUIError], object] | None = None,
        group: str = "",
    ) -> None:
        """Call ``function`` in a thread and then ``receive`` with its value, here.

        The thread is a daemon: leaving the app waits for nothing (a model being loaded, a slow disk).

        Args:
            failed: receives an error instead of the error dialog.
            group: work of the same group that is not over yet is forgotten (its value is dropped).
        """

        def body() -> None:
            try:
                value = function()
            except FineTUIError as problem:
                self.post_message(Done(failed or self.app.show_error, problem))
            except Exception as problem:
                self.post_message(Done(failed or self.app.show_error, self.app.unexpected(problem)))
            else:
                self.post_message(Done(current, value))

        token = object()
        tokens = self.__dict__.setdefault("_tokens", {})
        if group:
            tokens[group] = token

        def current(value: T) -> None:
            if not group or tokens.get(group) is token:
                receive(value)

        threading.Thread(target=body, daemon=True).start()

    def on_done(self, message: Done) -> None:
        """On the screen's side of a thread."""
        message.stop()
        if getattr(self, "is_attached", True):
            message.receive(message.value)


class View(Working, Screen[Any]):
    """A full screen with the bars."""

    SCOPE: ClassVar[str] = ""
    AUTO_FOCUS = ""
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (72, "-narrow"), (100, "-wide")]
    VERTICAL_BREAKPOINTS = [(0, "-low"), (23, "-medium"), (34, "-tall")]

    def compose(self) -> ComposeResult:
        """Bars around the content of the screen."""
        yield TopBar(id="top")
        yield from self.content()
        yield KeyBar(self.SCOPE, id="keys")

    def content(self) -> ComposeResult:
        """The screen's own widgets."""
        yield from ()

    def keys_changed(self) -> None:
        """What can be done has changed: draw the line of keys again."""
        if self.is_attached:
            self.query_one("#keys", KeyBar).show()

    def on_descendant_focus(self) -> None:
        """Keys depend on the focus."""
        self.keys_changed()

    def on_screen_resume(self) -> None:
        """Back on top: show what has changed meanwhile."""
        if self.is_attached and self.query("#top"):
            self.query_one("#top", TopBar).show()
            self.runs_changed()
            self.devices_changed()
            self.keys_changed()

    def runs_changed(self) -> None:
        """The app has new facts about runs (`FineTuiApp.rows`); screens that show them redraw."""

    def devices_changed(self) -> None:
        """The app has a new reading of the devices (`FineTuiApp.devices`)."""

    def titled(self, widget: Widget, title: str | Content, note: str = "") -> None:
        """Set the title in a pane's rule, with a note in grey, only where it differs (every set redraws)."""
        rest = ((note, "not bold $faint"), " ") if note else ()
        text = Content.assemble((self.app.glyphs.rule, "$rule"), " ", title, "  " if note else " ", *rest)
        if text.markup != widget.border_title:
            widget.border_title = text
