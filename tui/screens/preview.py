"""The data of a new run: its problems with file and line, or row by row what training would see and which tokens carry loss."""

from __future__ import annotations

from dataclasses import replace

from textual.app import ComposeResult
from textual.content import Content
from textual.widgets import Static

from ...core.errors import FineTUIError
from ..actions import bindings
from ..answers import Answers
from ..asking import DataSeen
from ..previewing import Rows
from ..rowlines import report_lines, row_text, row_title, row_tokens
from ..widgets.reading import Reading
from .base import View


class PreviewScreen(View):
    """One row at a time."""

    SCOPE = "preview"
    BINDINGS = bindings("preview")

    def __init__(self, answers: Answers) -> None:
        super().__init__()
        self.answers = replace(answers)
        self.at = 0
        self.by_token = False
        self.rows: Rows | None = None
        self.seen: DataSeen | None = None
        self.problem = ""

    def content(self) -> ComposeResult:
        """What the files hold; the row."""
        with Reading(id="preview-report", classes="pane"):
            yield Static("reading", id="report-lines")
        with Reading(id="preview-row", classes="pane"):
            yield Static(id="row")

    def on_mount(self) -> None:
        """Check the files first: that is quick, and a row with a problem cannot be shown."""
        from .. import asking

        self.titled(self.query_one("#preview-report"), "Data")
        self.titled(self.query_one("#preview-row"), "What it learns from")
        self.query_one("#preview-row").focus()
        home, asked = self.app.home, self.answers
        self.work(lambda: asking.read_data(home, asked), self._checked, failed=self._unreadable)

    def on_unmount(self) -> None:
        """The worker goes with the screen."""
        if self.rows is not None:
            self.rows.close()

    # State ------------------------------------------------------------------------------------------------------------

    def _checked(self, seen: DataSeen) -> None:
        self.seen = seen
        self.query_one("#report-lines", Static).update(report_lines(seen.report, self.app.glyphs))
        bad = bool(seen.report.problem_count)
        self.set_class(bad, "-problems")
        if bad:
            self.query_one("#preview-report").focus()
            self._say("a row with a problem is not trained on: mend it, then r reads again")
        elif not self.answers.model:
            self._say("choose a model: its tokenizer and its template make the tokens")
        else:
            self.rows = Rows(self.app.home, self.answers)
            self._say("a worker is loading the tokenizer")
            self._more()
        self.keys_changed()

    def _unreadable(self, problem: FineTUIError) -> None:
        self._say(problem.message + (f"\n{problem.hint}" if problem.hint else ""))
        self.query_one("#report-lines", Static).update("")

    def _more(self) -> None:
        rows = self.rows
        if rows is not None:
            self.work(rows.more, lambda _: self._show(), failed=self._unreadable, group="rows")

    def _say(self, text: str) -> None:
        self.problem = text
        self._show()

    def _show(self) -> None:
        rows = self.rows.known if self.rows else []
        shown = self.query_one("#row", Static)
        if not rows:
            return shown.update(Content.styled(self.problem, "$muted"))
        self.at = min(self.at, len(rows) - 1)
        row, glyphs = rows[self.at], self.app.glyphs
        of = f" of {len(rows)}" if self.rows and self.rows.complete else ""
        self.titled(self.query_one("#preview-row"), f"Row {self.at + 1}{of}", row_title(row))
        shown.update((row_tokens if self.by_token else row_text)(row, glyphs))
        self.keys_changed()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What there is not."""
        rows = self.rows
        if name == "again":
            return ""
        if rows is None or not rows.known:
            return "no row is shown yet"
        if name == "next" and self.at + 1 >= len(rows.known):
            return "this is the last row" if rows.complete else "the next rows are being read"
        if name == "previous" and not self.at:
            return "this is the first row"
        return ""

    def do_next(self) -> None:
        self._go(1)

    def do_previous(self) -> None:
        self._go(-1)

    def _go(self, by: int) -> None:
        self.at += by
        self.query_one("#preview-row").scroll_home(animate=False)
        self._show()
        if self.rows and not self.rows.complete and self.at + 1 >= len(self.rows.known):
            self._more()

    def do_tokens(self) -> None:
        self.by_token = not self.by_token
        self._show()

    def do_copy(self) -> None:
        assert self.rows is not None
        self.app.copy_to_clipboard(self.rows.known[self.at]["text"])
        self.app.notify("copied the row's text")

    def do_again(self) -> None:
        if self.rows is not None:
            self.rows.close()
        self.rows, self.at = None, 0
        self.on_mount()
