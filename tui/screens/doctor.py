"""What works on this machine, what does not, and why."""

from __future__ import annotations

from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ..actions import bindings
from .base import View

if TYPE_CHECKING:
    from ...core.doctor import Check


class DoctorScreen(View):
    """Devices, folders, plugins."""

    SCOPE = "doctor"
    BINDINGS = bindings("doctor")

    def content(self) -> ComposeResult:
        """One list."""
        with VerticalScroll(classes="pane", id="doctor", can_focus=True):
            yield Static(id="report")

    def on_mount(self) -> None:
        """Look."""
        self.titled(self.query_one("#doctor"), "Doctor", "reading")
        self.query_one("#doctor").focus()
        self.do_refresh()

    def do_refresh(self) -> None:
        from .. import backend

        self.work(lambda: backend.examine(self.app.home), self._show, group="examine")

    def _show(self, found: list[Check]) -> None:
        glyphs = self.app.glyphs
        marks = {"ok": ("succeeded", "$success"), "warn": ("queued", "$warning"), "fail": ("failed", "$error")}
        lines: list[Content] = []
        for check in found:
            glyph, style = marks[check.state]
            word = f"{glyphs.states[glyph]} {check.state:<5}"
            lines.append(Content.assemble((word, style), (f"{check.name:<18} ", "$foreground"), (check.detail, "$muted")))
            if check.hint:
                lines.append(Content.styled(f"       {glyphs.arrow} {check.hint}", "$faint"))
        self.query_one("#report", Static).update(Content("\n").join(lines))
        broken = sum(check.state == "fail" for check in found)
        self.titled(self.query_one("#doctor"), "Doctor", "everything that is needed works" if not broken else f"{broken} to look at")
