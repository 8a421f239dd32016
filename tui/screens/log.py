"""The app's own log: what FineTUI did and what went wrong, newest at the end."""

from __future__ import annotations

import os

from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ...core.applog import Entry, read_log
from ..actions import bindings
from ..format import plural
from ..widgets.filterline import FilterLine
from ..widgets.reading import Reading
from .base import View
from .filtered import Filtered

LEVELS = {"everything": (), "warnings and errors": ("warning", "error"), "errors": ("error",)}
_STYLES = {"debug": "$faint", "info": "$muted", "warning": "$warning", "error": "$error"}
_UPWARDS = ("up", "k", "pageup", "ctrl+u", "home", "g")
_MOST_SHOWN = 400
_LOOK_SECONDS = 1.0


class LogScreen(Filtered, View):
    """The end of ``finetui.log``; follows it while it grows."""

    SCOPE = "log"
    FILTERED = "#log-scroll"
    BINDINGS = bindings("log")

    def __init__(self) -> None:
        super().__init__()
        self.entries: list[Entry] = []
        self.following = True
        self.level = "everything"
        self._stamp = (-1, -1)

    def content(self) -> ComposeResult:
        """The search line and the lines."""
        with Vertical(classes="pane", id="log-pane"):
            yield FilterLine(id="filter")
            with Reading(id="log-scroll"):
                yield Static(id="log-text")

    def on_mount(self) -> None:
        """Read, and look again every second (one `stat`)."""
        self.query_one("#log-scroll").focus()
        self._look()
        self.set_interval(_LOOK_SECONDS, self._look)

    def _look(self) -> None:
        if self.app.screen is not self:
            return
        try:
            found = os.stat(self.app.home.log)
            stamp = (found.st_size, found.st_mtime_ns)
        except OSError:
            stamp = (0, 0)
        if stamp != self._stamp:
            self._stamp = stamp
            self.work(lambda: read_log(self.app.home), self._take, group="log")

    def _take(self, entries: list[Entry]) -> None:
        self.entries = entries
        self.show_filtered()

    def shown(self) -> list[Entry]:
        """The entries of the chosen level in which every word of the search occurs."""
        words, levels = self.query_one(FilterLine).value.lower().split(), LEVELS[self.level]
        return [
            entry
            for entry in self.entries
            if (not levels or entry.level in levels) and all(word in entry.text.lower() for word in words)
        ]  # fmt: skip

    def show_filtered(self) -> None:
        found = self.shown()
        lines = [Content.styled(entry.text, _STYLES[entry.level]) for entry in found[-_MOST_SHOWN:]]
        empty = "nothing matches" if self.entries else "nothing has been logged yet"
        self.query_one("#log-text", Static).update(Content("\n").join(lines) if lines else Content.styled(empty, "$muted"))
        where = "following" if self.following else "standing still"
        level = "" if self.level == "everything" else f", {self.level}"
        self.titled(self.query_one("#log-pane"), "Log", f"{plural(len(found), 'entry', 'entries')}{level}, {where}")
        self.query_one("#log-scroll", Reading).anchor(self.following)

    def on_key(self, event: events.Key) -> None:
        """Moving up stops following."""
        if event.key in _UPWARDS and self.following and not isinstance(self.focused, FilterLine):
            self.do_follow()

    # Actions ----------------------------------------------------------------------------------------------------------

    def do_follow(self) -> None:
        self.following = not self.following
        self.show_filtered()

    def do_search(self) -> None:
        self.do_filter()

    def do_level(self) -> None:
        names = list(LEVELS)
        self.level = names[(names.index(self.level) + 1) % len(names)]
        self.show_filtered()

    def do_copy(self) -> None:
        self.app.copy_to_clipboard("\n".join(entry.text for entry in self.shown()[-_MOST_SHOWN:]))
        self.app.notify("copied")

    def do_refresh(self) -> None:
        self._stamp = (-1, -1)
        self._look()
