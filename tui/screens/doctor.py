"""What works on this machine, what does not, and why."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import VerticalScroll
from textual.content import Content
from textual.widgets import Static

from ..actions import bindings
from ..backend import Finding
from .base import View


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

    def _show(self, findings: list[Finding]) -> None:
        glyphs = self.app.glyphs
        lines: list[Content] = []
        section = ""
        for finding in findings:
            if finding.section != section:
                section = finding.section
                lines += [Content(""), Content.styled(section, "bold $muted")] if lines else [Content.styled(section, "bold $muted")]
            mark, style = (glyphs.states["succeeded"], "$success") if finding.works else (glyphs.states["failed"], "$error")
            lines.append(Content.assemble((f"{mark} ", style), (f"{finding.name:<22}", "$foreground"), (f" {finding.detail}", "$muted")))
        self.query_one("#report", Static).update(Content("\n").join(lines))
        broken = sum(not finding.works for finding in findings)
        self.titled(self.query_one("#doctor"), "Doctor", "everything works" if not broken else f"{broken} to look at")
