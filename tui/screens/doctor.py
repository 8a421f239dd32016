"""What works on this machine, what does not, and why: `finetui doctor`, and torch itself when asked."""

from __future__ import annotations

from textual import events
from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from ...core.doctor import Check
from ..actions import bindings
from ..columns import hanging
from ..widgets.reading import Reading
from .base import View

_MARKS = {"ok": ("succeeded", "$success"), "warn": ("queued", "$warning"), "fail": ("failed", "$error")}
_COLUMN = 26


class DoctorScreen(View):
    """Devices, packages, folders, hub, plugins, terminal, notifications."""

    SCOPE = "doctor"
    BINDINGS = bindings("doctor")

    def __init__(self) -> None:
        super().__init__()
        self.checks: list[Check] = []
        self.probe: Check | None = None
        """What torch said, once it was asked."""
        self.asking = False

    def content(self) -> ComposeResult:
        """One list."""
        with Reading(classes="pane", id="doctor"):
            yield Static(id="report")

    def on_mount(self) -> None:
        """Look."""
        self.query_one("#doctor").focus()
        self.do_refresh()

    def do_refresh(self) -> None:
        from .. import backend

        self.titled(self.query_one("#doctor"), "Doctor", "looking")
        self.work(lambda: backend.examine(self.app.home), self._take, group="examine")

    def do_probe(self) -> None:
        from .. import backend

        self.asking = True
        self._show()
        self.work(backend.ask_torch, self._take_probe)

    def why_not(self, name: str) -> str:
        """Torch answers one question at a time."""
        return "torch is being asked already" if name == "probe" and self.asking else ""

    def do_copy(self) -> None:
        self.app.copy_to_clipboard("\n".join(_plain(check) for check in self._all()))
        self.app.notify("copied")

    def _take(self, found: list[Check]) -> None:
        self.checks = found
        self._show()

    def _take_probe(self, answer: Check) -> None:
        self.probe, self.asking = answer, False
        self._show()

    def on_resize(self, event: events.Resize) -> None:
        """Lines wrap at another place."""
        self.call_after_refresh(self._show)

    def _all(self) -> list[Check]:
        return [*self.checks, *([self.probe] if self.probe else [])]

    def _show(self) -> None:
        width = max(20, self.query_one("#doctor").size.width - 2)
        self.query_one("#report", Static).update(Content("\n").join([self._line(check, width) for check in self._all()]))
        states = [check.state for check in self._all()]
        said = [f"{states.count('fail')} broken"] * ("fail" in states) + [f"{states.count('warn')} to know of"] * ("warn" in states)
        note = "torch is being asked" if self.asking else ", ".join(said) or "everything works"
        self.titled(self.query_one("#doctor"), "Doctor", note if states else "looking")
        self.keys_changed()

    def _line(self, check: Check, width: int) -> Content:
        glyph, style = _MARKS[check.state]
        head = Content.assemble((f"{self.app.glyphs.states[glyph]} {check.state:<4} ", style), (check.name, "$foreground"))
        hint = f"\n{self.app.glyphs.arrow} {check.hint}" if check.hint else ""
        return hanging(head, Content.assemble((check.detail, "$muted"), (hint, "$foreground")), width, _COLUMN)


def _plain(check: Check) -> str:
    return f"{check.state:<4}  {check.name:<18} {check.detail}" + (f"\n      {check.hint}" if check.hint else "")
