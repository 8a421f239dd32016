"""Every method, ranked for the model at hand, with reasons: to choose one, or to mark several that are to be compared."""

from __future__ import annotations

from collections.abc import Sequence

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from ..actions import bindings
from ..asking import MethodRow
from ..methodlines import HEAD, method_line, why
from ..widgets.filterline import FilterLine
from ..widgets.lists import Lines
from ..widgets.reading import Reading
from .base import View
from .filtered import Filtered


class MethodsScreen(Filtered, View):
    """The ranked list. Dismissed with the names that were chosen: one, or several to compare."""

    SCOPE = "methods"
    FILTERED = "#methods"
    BINDINGS = bindings("methods")

    def __init__(self, rows: Sequence[MethodRow], chosen: Sequence[str], place: str) -> None:
        """
        Args:
            chosen: the present choice; several are marked.
            place: what the figures are for, in words.
        """
        super().__init__()
        self.rows = {row.name: row for row in rows}
        self.place, self.first = place, chosen[0]
        self.marked = [name for name in chosen if name in self.rows] if len(chosen) > 1 else []

    def content(self) -> ComposeResult:
        """List above, reasons below."""
        with Vertical(id="methods-top", classes="pane"):
            yield FilterLine(id="filter")
            yield Static(Content.styled(HEAD, "$muted"), id="methods-head")
            yield Lines(id="methods")
        with Reading(id="methods-why", classes="pane"):
            yield Static(id="why")

    def on_mount(self) -> None:
        """The cursor on the present choice."""
        self.titled(self.query_one("#methods-why"), "Why")
        self.lines.marks = True
        self.show_filtered()
        if self.first in self.rows:
            self.lines.choose(self.first)
        self.lines.focus()

    def on_resize(self) -> None:
        """Reasons in the lines where there is room."""
        self.call_after_refresh(self.show_filtered)

    @property
    def lines(self) -> Lines:
        """The list."""
        return self.query_one("#methods", Lines)

    def show_filtered(self) -> None:
        words = self.query_one(FilterLine).value.lower().split()
        width = max(50, self.lines.size.width - 3)
        shown = [row for row in self.rows.values() if all(word in f"{row.name} {row.title} {row.good_for}".lower() for word in words)]
        lines = [(row.name, method_line(row, row.name in self.marked, self.app.glyphs, width), True) for row in shown]
        self.lines.show(lines or [("", Content.styled("nothing matches the filter; esc clears it", "$muted"), False)])
        note = f"{len(self.marked)} marked" if self.marked else "space marks those to compare"
        self.titled(self.query_one("#methods-top"), f"Methods {self.place}", note)
        self._show_why()
        self.keys_changed()

    def _show_why(self) -> None:
        row = self.rows.get(self.lines.chosen)
        self.query_one("#why", Static).update(why(row) if row else Content(""))

    def on_option_list_option_highlighted(self) -> None:
        """Reasons of another line."""
        self._show_why()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter in the list."""
        self.action_act("methods.choose")

    def on_lines_marked(self, event: Lines.Marked) -> None:
        """Space: mark the line, or take the mark away."""
        row = self.rows.get(event.identifier)
        if row is None:
            return
        if row.name in self.marked:
            self.marked.remove(row.name)
        elif row.refusal:
            self.app.notify(f"{row.name} cannot be compared here: {row.refusal}", severity="warning", markup=False)
        else:
            self.marked.append(row.name)
        self.show_filtered()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What is missing."""
        if name == "compare" and len(self.marked) < 2:
            return "mark two or more methods with space"
        row = self.rows.get(self.lines.chosen) if self.is_attached else None
        if name == "choose" and len(self.marked) < 2 and row is not None and row.refusal:
            return f"{row.name} cannot be chosen: {row.refusal}"
        return ""

    def do_choose(self) -> None:
        if len(self.marked) > 1:
            self.dismiss(list(self.marked))
        elif self.lines.chosen:
            self.dismiss([self.lines.chosen])

    def do_compare(self) -> None:
        self.dismiss(list(self.marked))
