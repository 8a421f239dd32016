"""Home: what runs, what needs me, what I can do next."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import OptionList, Static

from ...core.embedded import BASE_MODEL_NAME
from ..actions import bindings
from ..devicelines import device_lines
from ..runlines import run_line, selected_run
from ..watching import RunRow
from ..widgets.filterline import FilterLine
from ..widgets.lists import Lines
from ..widgets.steady import Steady
from .artifacts import ArtifactActions
from .base import View
from .filtered import Filtered

WELCOME: tuple[tuple[str, str, str], ...] = (
    ("demo", "Fine-tune the built-in model", "no download, about a minute on two cores"),
    ("new", "New run", "your own model and data"),
    ("chat", "Chat with the built-in model", "see what it says before you train it"),
    ("catalog", "Catalog", "models and adapters on this machine"),
)
"""What to do when nothing has run yet: id, title, note."""


class HomeScreen(Filtered, ArtifactActions, View):
    """Runs, devices and the selected run."""

    SCOPE = "home"
    FILTERED = "#runs"
    BINDINGS = bindings("home")

    def __init__(self) -> None:
        super().__init__()
        self.marked: set[str] = set()
        """Training runs to be compared."""

    def content(self) -> ComposeResult:
        """Runs left, devices and the selected run right."""
        with Horizontal(classes="columns"):
            with Vertical(id="home-left", classes="pane"):
                yield FilterLine(id="filter")
                yield Static(id="welcome", classes="hidden")
                runs = Lines(id="runs")
                runs.marks = True
                yield runs
            with Vertical(id="home-right"):
                with Vertical(id="devices", classes="pane"):
                    yield Steady(id="device-lines")
                with Vertical(id="selected", classes="pane"):
                    yield Steady(id="selected-lines")

    def on_mount(self) -> None:
        """What is known already."""
        for pane, title in (("#home-left", "Runs"), ("#devices", "Devices"), ("#selected", "Selected")):
            self.titled(self.query_one(pane), title)
        self.query_one("#runs", Lines).focus()
        self.runs_changed()
        self.devices_changed()

    # State ------------------------------------------------------------------------------------------------------------

    @property
    def selected_row(self) -> RunRow | None:
        """The run under the cursor."""
        chosen = self.query_one("#runs", Lines).chosen
        return next((row for row in self.app.rows if row.id == chosen), None)

    def show_filtered(self) -> None:
        """The filter has changed."""
        self.runs_changed()

    def runs_changed(self) -> None:
        """Draw the lines that differ."""
        problem = self.app.runs_problem
        self.titled(self.query_one("#home-left"), "Runs", f"cannot be read: {problem}" if problem else "")
        if not self.app.runs_known:
            return
        empty = not self.app.rows
        welcome = self.query_one("#welcome", Static)
        welcome.set_class(not empty, "hidden")
        if empty:
            welcome.update(Content.assemble(("Nothing has run yet. ", "bold $foreground"), ("Enter starts here:", "$muted")))
        self.query_one("#runs", Lines).show(self._welcome_lines() if empty else self._run_lines())
        self._show_selected()

    def devices_changed(self) -> None:
        """Draw the devices."""
        self.query_one("#device-lines", Steady).say(device_lines(self.app.devices, self.app.glyphs, 36))

    def on_resize(self) -> None:
        """Columns depend on the width."""
        self.call_after_refresh(self.runs_changed)

    def _welcome_lines(self) -> list[tuple[str, Content | str, bool]]:
        return [
            (f"welcome-{name}", Content.assemble((f"{title:<30}", "$foreground"), (note, "$muted")), True) for name, title, note in WELCOME
        ]

    def _run_lines(self) -> list[tuple[str, Content | str, bool]]:
        words = self.query_one(FilterLine).value.lower().split()
        known = {row.id for row in self.app.rows}
        # The runs that a comparison started are seen there; here a filter finds them, and they are listed while they stand in the queue.
        rows = [row for row in self.app.rows if words or row.position or row.parent not in known]
        rows = [row for row in rows if all(word in f"{row.name} {row.method} {row.state} {row.kind}".lower() for word in words)]
        width = max(40, self.query_one("#runs", Lines).size.width - 3)
        lines: list[tuple[str, Content | str, bool]] = []
        for title, chosen in (
            ("Running", [row for row in rows if row.active and row.state != "queued"]),
            ("Waiting, the queue is paused" if any(row.paused for row in rows) else "Waiting", _in_order(rows)),
            ("Finished", [row for row in rows if not row.active]),
        ):
            if chosen:
                if lines:
                    lines.append((f"space-{title}", "", False))
                lines.append((f"heading-{title}", Content.styled(title, "bold $muted"), False))
                lines += [(row.id, run_line(row, self.app.glyphs, width, marked=row.id in self.marked), True) for row in chosen]
        return lines or [("none", Content.styled("no run matches the filter; esc clears it", "$muted"), False)]

    def _show_selected(self) -> None:
        row = self.selected_row
        text = selected_run(row, self.app.glyphs) if row else Content.styled("Press ? for every key.", "$muted")
        self.query_one("#selected-lines", Steady).say(text)
        self.keys_changed()

    def on_option_list_option_highlighted(self) -> None:
        """Another line: other details, other keys."""
        self._show_selected()

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter."""
        chosen = event.option_id or ""
        if chosen == "welcome-demo":
            self.app.new_run(model=BASE_MODEL_NAME, embedded_data="pirate", ready=True)
        elif chosen == "welcome-new":
            self.app.new_run()
        elif chosen == "welcome-chat":
            await self.app.chat_with(BASE_MODEL_NAME)
        elif chosen == "welcome-catalog":
            await self.app.do_catalog()
        elif chosen:
            self.app.show_run(chosen)

    def on_lines_marked(self, message: Lines.Marked) -> None:
        """Space marks a training run, and takes the mark off again."""
        row = self.selected_row
        if row is None or row.kind != "train":
            return self.app.notify("only training runs can be marked, to be compared", severity="warning")
        self.marked ^= {row.id}
        self.runs_changed()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What speaks against an action on the selected run."""
        row = self.selected_row
        if name in ("new", "filter", "refresh", "queue_pause"):
            return ""
        if row is None:
            return "no run is selected"
        if name == "compare":
            enough = row.kind == "compare" or len(self._marked_runs()) > 1
            return "" if enough else "mark at least two training runs with space, or select a comparison"
        if name == "stop" and not row.active:
            return f"{row.name} has ended ({row.state})"
        if name in ("queue_up", "queue_down") and not row.position:
            return f"{row.name} does not wait in the queue"
        if name == "delete" and row.active:
            return f"{row.name} is {row.state}: stop it first"
        if name in ("chat", "merge", "push"):
            return self.result_problem(row)
        return ""

    def do_open(self) -> None:
        row = self.selected_row
        if row is not None:
            self.app.show_run(row.id)

    def _marked_runs(self) -> list[str]:
        """What is marked and still there, oldest first."""
        return sorted(row.id for row in self.app.rows if row.id in self.marked)

    def do_compare(self) -> None:
        row, marked = self.selected_row, self._marked_runs()
        if len(marked) > 1:
            self.app.compare(marked)
        elif row is not None:
            self.app.compare([row.id])

    def do_new(self) -> None:
        self.app.new_run()

    def do_stop(self) -> None:
        row = self.selected_row
        if row is not None:
            self.stop_run(row.id)

    def do_queue_up(self) -> None:
        self._move("up")

    def do_queue_down(self) -> None:
        self._move("down")

    def _move(self, where: str) -> None:
        from .. import backend

        row = self.selected_row
        if row is not None:
            self.work(lambda: backend.move_in_queue(self.app.home, row.id, where), lambda _: self.app.look_again())

    def do_queue_pause(self) -> None:
        from .. import backend

        def told(paused: bool) -> None:
            self.app.notify("the queue is paused: nothing that waits starts" if paused else "the queue goes on")
            self.app.look_again()

        self.work(lambda: backend.toggle_queue(self.app.home), told)

    async def do_chat(self) -> None:
        row = self.selected_row
        if row is not None:
            await self.app.chat_with(row.model, row.result)

    def do_merge(self) -> None:
        row = self.selected_row
        if row is not None:
            self.open_merge(row.model, row.result)

    def do_push(self) -> None:
        row = self.selected_row
        if row is not None:
            self.open_push(row.result)

    def do_delete(self) -> None:
        row = self.selected_row
        if row is not None:
            self.delete_run(row)

    def do_copy(self) -> None:
        row = self.selected_row
        if row is not None:
            self.app.copy_to_clipboard(row.id)
            self.app.notify(f"copied {row.id}")

    def do_refresh(self) -> None:
        self.app.look_again()


def _in_order(rows: list[RunRow]) -> list[RunRow]:
    """Those that wait, as they stand in the queue; then those that nobody has launched yet."""
    return sorted((row for row in rows if row.state == "queued"), key=lambda row: (not row.position, row.position))
