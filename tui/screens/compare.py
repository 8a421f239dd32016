"""Compare: runs and their figures in one table, their loss curves over one another, bars, and the options that differ."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from ...core.errors import FineTUIError
from ..actions import bindings
from ..comparing import Reader, Seen, bar_lines, measures, note_lines, numbered, table_lines
from ..format import plural
from ..histories import QUANTITIES, History
from ..runlines import state_text
from ..watching import RunRow
from ..widgets.curves import Curve, Picture
from ..widgets.lists import Lines
from ..widgets.plot import Plot
from ..widgets.ruleline import RuleLine
from .artifacts import ArtifactActions
from .base import View

TABS = ("Curves", "Bars", "Notes")
_EMPTY = "Nothing to compare yet: mark runs on Home (space) or methods in a new run, and press v; or run `finetui compare`."


class CompareScreen(ArtifactActions, View):
    """One comparison, or any training runs; read again whenever one of them changes.

    Args:
        run_ids: a comparison's id, or those of training runs; none: the newest comparison.
    """

    SCOPE = "compare"
    BINDINGS = bindings("compare")

    def __init__(self, run_ids: Sequence[str] = ()) -> None:
        super().__init__()
        self.run_ids = tuple(run_ids)
        self.seen: Seen | None = None
        self.histories: dict[int, History] = {}
        """Figures of the rows' runs, by number of their curve."""
        self.tab, self.measure, self.skip, self.quantity = 0, 0, 0, 0
        self._reader: Reader | None = None
        self._reading = False
        self._known: tuple[RunRow, ...] | None = None

    def content(self) -> ComposeResult:
        """Title, table, and below it curves and bars."""
        yield RuleLine(id="compare-title", glyphs=self.app.glyphs)
        with Vertical(id="compare-table"):
            yield Static(id="compare-head")
            yield Lines(id="compare-rows")
        with Horizontal(id="compare-bottom", classes="columns"):
            with Vertical(id="compare-curves", classes="pane"):
                yield Plot(id="curves", glyphs=self.app.glyphs)
            with VerticalScroll(id="compare-side", classes="pane", can_focus=False):
                yield Static(id="compare-text")

    def on_mount(self) -> None:
        """Read what is to be compared."""
        self.query_one("#compare-rows", Lines).focus()
        self._show_panes()
        self.runs_changed()

    # State ------------------------------------------------------------------------------------------------------------

    def open(self, run_ids: Sequence[str]) -> None:
        """Compare other runs."""
        self.run_ids, self.seen, self._reader, self._known, self.skip = tuple(run_ids), None, None, None, 0
        self.histories = {}
        self.query_one(Plot).view.show_all()
        self._show()
        self.runs_changed()

    def runs_changed(self) -> None:
        """Read again where one of the runs shown has changed."""
        if not self.run_ids:
            newest = next((row.id for row in self.app.rows if row.kind == "compare"), "")
            if not newest:
                return self._show()
            self.run_ids = (newest,)
        mine = tuple(row for row in self.app.rows if row.id in self.run_ids or row.parent in self.run_ids)
        if mine != self._known and not self._reading:
            self._known = mine
            self._read()

    def _read(self) -> None:
        if self._reader is None:
            self._reader = Reader(self.app.home, self.run_ids)
        self._reading = True
        self.work(self._reader.read, self._have, failed=self._cannot_read)

    def _have(self, seen: Seen) -> None:
        self._reading = False
        if self._reader is None:  # something else is shown by now
            return self.runs_changed()
        self.seen = seen
        for number, lines in seen.lines.items():
            self.histories.setdefault(number, History()).take(lines)
        self._show()
        self.runs_changed()

    def _cannot_read(self, problem: FineTUIError) -> None:
        self._reading = False
        self.app.show_error(problem)

    def on_resize(self) -> None:
        """Columns, bars and panes depend on the size."""
        self.call_after_refresh(self._show_panes)
        self.call_after_refresh(self._show)

    @property
    def row(self) -> dict[str, Any] | None:
        """The row under the cursor."""
        chosen = self.query_one("#compare-rows", Lines).chosen
        return self.seen.rows[int(chosen)] if self.seen is not None and chosen.isdigit() and int(chosen) < len(self.seen.rows) else None

    def _set_heights(self, head: int, table: int) -> None:
        """Rows for the table's head (or the sentence in its place), and for the table as a whole."""
        self.query_one("#compare-head").styles.height = head
        self.query_one("#compare-table").styles.height = table

    def _show(self) -> None:
        """Draw everything."""
        if not self.is_attached:
            return
        if self.seen is None:
            words = "reading" if self.run_ids else _EMPTY
            self.query_one(Plot).put(Picture(waiting=""))
            self.query_one("#compare-title", RuleLine).say(Content.styled("Compare", "bold $muted"))
            self._set_heights(head=2, table=4)
            self.query_one("#compare-head", Static).update(Content.styled(words, "$muted"))
            return self.query_one("#compare-rows", Lines).show([])
        self._show_title(self.seen)
        self._show_table(self.seen)
        self._show_curves()
        self._show_side()
        self.keys_changed()

    def _show_title(self, seen: Seen) -> None:
        table, glyphs = seen.table, self.app.glyphs
        parts: list[Any] = [(table["name"] or plural(len(seen.rows), "run"), "bold $foreground")]
        if table["state"]:
            parts += [f" {glyphs.dot} ", state_text(table["state"], glyphs)]
        row = next((row for row in self.app.rows if row.id == table["run"]), None)
        if row is not None and row.active and row.note:
            parts.append((f" {glyphs.dot} {row.note}", "$foreground"))
        parts.append((f" {glyphs.dot} {table['model']}" if table["model"] else "", "$muted"))
        self.query_one("#compare-title", RuleLine).say(Content.assemble(*parts))

    def _show_table(self, seen: Seen) -> None:
        lines = self.query_one("#compare-rows", Lines)
        head, rows, self.skip, hidden = table_lines(seen, self.app.glyphs, max(30, self.size.width - 3), self.skip)
        more = f"  {self.app.glyphs.arrow} {hidden}" + (" more" if self.has_class("-wide") else "") if hidden else ""
        self.query_one("#compare-head", Static).update(Content.assemble(" ", head, (more, "$faint")))
        self._set_heights(head=1, table=min(len(rows) + 1, max(4, (self.size.height - 3) // 2)))
        lines.show([(str(number), line, True) for number, line in enumerate(rows)])

    def _show_curves(self) -> None:
        if self.seen is None:
            return
        chosen = self.query_one("#compare-rows", Lines).chosen
        front = numbered(self.seen.rows)[int(chosen)][0] if chosen.isdigit() and int(chosen) < len(self.seen.rows) else -1
        quantity = QUANTITIES[self.quantity]
        curves = [
            Curve(number, row["label"], self.histories[number][quantity.key])
            for number, row in numbered(self.seen.rows)
            if number in self.histories
        ]
        self.query_one(Plot).put(
            Picture(
                curves,
                quantity.title,
                quantity.write,
                front=front,
                smooth=quantity.smooth,
                waiting="waiting for the first step" if quantity.key == "loss" else f"there is no {quantity.title.lower()} yet",
            )  # fmt: skip
        )

    def _show_side(self) -> None:
        if self.seen is None:
            return
        side = self.query_one("#compare-side")
        if self._side == 1:
            text = bar_lines(self.seen, self.app.glyphs, max(24, side.size.width - 3), max(4, side.size.height - 1), self.measure)
        else:
            text = note_lines(self.seen)
        self.query_one("#compare-text", Static).update(text)

    @property
    def _side(self) -> int:
        """What the right pane shows: bars (1) or notes (2)."""
        return self.tab or 1

    def _show_panes(self) -> None:
        """Both panes side by side where there is room, else the one that is chosen."""
        if not self.is_attached:
            return
        wide = self.has_class("-wide")
        self.query_one("#compare-curves").set_class(not wide and self.tab != 0, "hidden")
        self.query_one("#compare-side").set_class(not wide and self.tab == 0, "hidden")
        names: list[Any] = []
        for number, name in enumerate(TABS):
            if number or not wide:
                here = self._side == number if wide else self.tab == number
                names += [(name, "bold underline $foreground" if here else "not bold $muted"), "  "]
        self.titled(self.query_one("#compare-curves"), "Curves", "" if wide else "[ ] other pane")
        self.titled(self.query_one("#compare-side"), Content.assemble(*names[:-1]), "[ ] other" if wide else "[ ] other pane")

    def on_option_list_option_highlighted(self) -> None:
        """Another row: its curve lies on top."""
        self._show_curves()
        self.keys_changed()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter opens the row's training run."""
        self.action_act("compare.open")

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What speaks against an action."""
        if name == "choose":
            return "" if any(row.kind == "compare" for row in self.app.rows) else "there is no comparison yet"
        if name == "runs":
            return "" if sum(row.kind == "train" for row in self.app.rows) > 1 else "there are not two training runs yet"
        if self.seen is None:
            return "nothing is compared yet"
        state, own = self.seen.table["state"], self.seen.table["run"]
        if name in ("stop", "resume", "log") and not own:
            return "these runs were not started by one comparison"
        if name == "stop" and state not in ("queued", "starting", "running", "stopping"):
            return f"the comparison has ended ({state})"
        if name == "resume" and state not in ("stopped", "failed", "lost"):
            return f"only a stopped, failed or lost comparison can be resumed; this one is {state}"
        if name == "open" and not (self.row and self.row["runs"]):
            return "this row has no run"
        return ""

    def do_open(self) -> None:
        row = self.row
        if row is not None:
            self.app.show_run(row["runs"][0])

    def do_log(self) -> None:
        self.app.show_dashboard(self.run_ids[0])

    def do_measure(self) -> None:
        assert self.seen is not None
        if self._side != 1 or (not self.has_class("-wide") and self.tab != 1):
            self.tab = 1
            self._show_panes()
        else:
            self.measure = (self.measure + 1) % max(1, len(measures(self.seen.rows)))
        self.call_after_refresh(self._show_side)

    def do_curve(self) -> None:
        self.quantity = (self.quantity + 1) % len(QUANTITIES)
        if not self.has_class("-wide") and self.tab:
            self.tab = 0
            self._show_panes()
        self._show_curves()

    def _turn(self, by: int) -> None:
        first, count = (1, 2) if self.has_class("-wide") else (0, 3)
        now = self._side if first else self.tab
        self.tab = first + (now - first + by) % count
        self._show_panes()
        self.call_after_refresh(self._show)

    def do_tab_next(self) -> None:
        self._turn(1)

    def do_tab_previous(self) -> None:
        self._turn(-1)

    def do_right(self) -> None:
        assert self.seen is not None
        self.skip += 1
        self._show_table(self.seen)

    def do_left(self) -> None:
        assert self.seen is not None
        self.skip = max(0, self.skip - 1)
        self._show_table(self.seen)

    def do_choose(self) -> None:
        from .messages import PickDialog

        entries = [(row.id, row.name, f"{row.state}, {row.model}") for row in self.app.rows if row.kind == "compare"]

        def chosen(run_id: str | None) -> None:
            if run_id:
                self.open([run_id])

        self.app.push_screen(PickDialog("Which comparison?", entries, chosen=self.run_ids[0] if self.run_ids else ""), chosen)

    def do_runs(self) -> None:
        from .messages import MarkDialog

        entries = [(row.id, row.name, f"{row.state}, {row.method}, {row.model}") for row in self.app.rows if row.kind == "train"]
        shown = [run_id for row in (self.seen.rows if self.seen else []) for run_id in row["runs"]]

        def chosen(run_ids: list[str] | None) -> None:
            if run_ids:
                self.open(sorted(run_ids))  # the oldest first, as where runs are marked on Home

        self.app.push_screen(MarkDialog("Compare which runs?", entries, marked=shown, fewest=2), chosen)

    def do_export(self) -> None:
        from .. import backend
        from .messages import PickDialog

        assert self.seen is not None
        stem = self.seen.table["name"] or "comparison"
        table = self.seen.table
        kinds = (("md", "Markdown, for people"), ("csv", "CSV, for spreadsheets"), ("json", "JSON, for programs"))
        targets = [(Path.cwd() / f"{stem}.{ending}", what) for ending, what in kinds]
        entries = [(str(path), path.name, what + (", in place of the one there" if path.exists() else "")) for path, what in targets]

        def chosen(path: str | None) -> None:
            if path:
                self.work(lambda: backend.export_comparison(table, Path(path)), lambda done: self.app.notify(f"wrote {done}"))

        self.app.push_screen(PickDialog(f"Export to a file in {Path.cwd()}", entries), chosen)

    def do_stop(self) -> None:
        self.stop_run(self.run_ids[0])

    def do_resume(self) -> None:
        from .. import backend

        self.work(lambda: backend.resume_run(self.app.home, self.run_ids[0]), lambda _: self.app.look_again())

    def do_copy(self) -> None:
        from ...core.compare.export import markdown

        assert self.seen is not None
        self.app.copy_to_clipboard(markdown(self.seen.table))
        self.app.notify("copied the table as Markdown")

    def do_copy_ids(self) -> None:
        self.app.copy_to_clipboard(" ".join(self.run_ids))
        self.app.notify("copied the ids of what is compared")
