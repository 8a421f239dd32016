"""A new run, or a comparison of methods: the answers and the options on one page, and the price before the launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from ...core.embedded import QUICK_SETTINGS, dataset
from ...core.errors import FineTUIError
from ..actions import bindings
from ..answers import Answers
from ..asking import DataSeen, Priced
from ..backend import Shelf
from ..format import human_count, plural
from ..newrun import fields_of, first_error, read_answers
from ..rowlines import learns_from
from ..widgets.fields import Field, show_value
from ..widgets.form import Form
from ..widgets.price import compared_lines, price_lines
from .base import View
from .pickers import Pickers

if TYPE_CHECKING:
    from ...core.api import Example
    from ...core.planner.advice import Change
    from ...core.planner.memory import Plan


class NewRunScreen(Pickers, View):
    """The form. Whatever is changed, the memory estimate and the command follow."""

    SCOPE = "new"
    BINDINGS = bindings("new")

    def __init__(self, *, model: str = "", embedded_data: str = "", ready: bool = False, request: dict[str, Any] | None = None) -> None:
        """
        Args:
            model: name of the base, when it is known.
            embedded_data: name of a built-in dataset.
            ready: everything is chosen: settings for a first run, cursor on Start.
            request: of an earlier run, to be changed.
        """
        super().__init__()
        self.answers = Answers.of_request(request) if request else Answers(model=model)
        if embedded_data:
            self.answers.data = [str(dataset(embedded_data))]
            self.answers.eval_data = [str(dataset(f"{embedded_data}_eval"))]
        if ready:
            self.answers.settings = dict(QUICK_SETTINGS)
        self.ready = ready or request is not None
        self.shelf: Shelf | None = None
        self.notes: dict[str, tuple[str, str]] = {}
        """Of fields: note and error."""
        self.priced: Priced | None = None
        self.rows: Sequence[Example] = ()
        """The first rows of the data; their lengths decide the price."""
        self._started = False

    def content(self) -> ComposeResult:
        """Form left; price, data and command right."""
        with Horizontal(id="new-columns", classes="columns"):
            with Vertical(id="new-left", classes="pane"):
                yield Form(id="form", glyphs=self.app.glyphs)
                yield Static(id="field-help")
            with Vertical(id="new-right"):
                with Vertical(id="price", classes="pane"):
                    yield Static(id="price-lines")
                with Vertical(id="data-pane", classes="pane"):
                    yield Static(id="learns-from")
                with Vertical(id="command-pane", classes="pane"):
                    yield Static(id="command")

    def on_mount(self) -> None:
        """Show the form at once; catalog, data and price come as they are read."""
        from .. import backend

        self.titled(self.query_one("#new-left"), "New run")
        self.titled(self.query_one("#price"), "Memory at the peak")
        self.titled(self.query_one("#data-pane"), "What it learns from", self.keys_line(("new.data", "all, by token")))
        self.titled(self.query_one("#command-pane"), "The same as a command", self.keys_line(("new.copy", "copy"), ("new.words", "file")))
        if self.app.settings.gpus != "auto" and self.answers.gpus == "auto":
            self.answers.gpus = self.app.settings.gpus
        self.answers.share_gpu = self.answers.share_gpu or self.app.settings.share_gpu
        self._rebuild(cursor="start" if self.ready else "model")
        self.query_one(Form).focus()
        self.work(lambda: backend.read_catalog(self.app.home), self._have_catalog, group="catalog")
        self._read_data()

    def on_resize(self) -> None:
        """Bars are as long as there is room."""
        self.call_after_refresh(self._show_price)

    @property
    def form(self) -> Form:
        """The form."""
        return self.query_one("#form", Form)

    @property
    def plan(self) -> Plan | None:
        """What the launch would decide by; of a comparison that of the largest."""
        return self.priced.best if self.priced else None

    # State ------------------------------------------------------------------------------------------------------------

    def _have_catalog(self, shelf: Shelf) -> None:
        self.shelf = shelf
        if not self.answers.model:
            usable = [entry for entry in shelf.models if not entry.problem]
            if len(usable) == 1:
                self.answers.model = usable[0].name
                self._read_data()
        self._describe_model()
        self._rebuild()

    def _describe_model(self) -> None:
        name = self.answers.model
        entry = next((entry for entry in (self.shelf.models if self.shelf else []) if name in (entry.name, entry.path)), None)
        note = f"{human_count(entry.parameters)} parameters, {entry.dtype}, {entry.architecture}" if entry else ""
        self.notes["model"] = (note or ("enter chooses" if not name else ""), entry.problem if entry else "")

    def _rebuild(self, cursor: str = "") -> None:
        """Make the fields anew (another method has other options)."""
        from .. import asking

        loaded = {name: asking.method(name) for name in self.answers.methods or [self.answers.method]}
        self.notes["method"] = ("", next((problem for _, problem in loaded.values() if problem), ""))
        fields = fields_of(self.answers, {name: plugin for name, (plugin, _) in loaded.items()}, asking.objective_names())
        for row in fields:
            note, error = self.notes.get(row.key, (row.note, row.error))
            row.note, row.error = note or row.note, error
        self.titled(self.query_one("#new-left"), "New comparison" if self.answers.comparing else "New run")
        self.form.show(fields, cursor)
        self._follow()

    def chose_model(self) -> None:
        """Another base: an encoder reads rows as texts with labels."""
        self._describe_model()
        self._rebuild()
        self._read_data()

    def chose_data(self) -> None:
        """Other data."""
        self._rebuild()
        self._read_data()

    def chose(self) -> None:
        """Another method, device or evaluation file."""
        self._rebuild()

    def _follow(self) -> None:
        """Everything that depends on the fields."""
        read_answers(self.form.fields, self.answers)
        self.query_one("#command", Static).update(Content(self.answers.command(self.app.settings)))
        self._show_rows()
        self._settle()
        self._show_help(self.form.current)
        self._ask_price()

    def _settle(self) -> None:
        """What the start button says, the fields' notes, the keys."""
        button, waits = self.form.field("start"), self.priced.waits_for if self.priced else ""
        ready = f"would wait for {waits}" if waits else "enter or ctrl+s"
        button.note, button.error = self._blocked() or ready, self._blocked()
        self.form.update_lines()
        self.keys_changed()

    def _set_note(self, key: str, note: str, error: str) -> None:
        self.notes[key] = (note, error)
        row = self.form.field(key)
        row.note, row.error = note, error
        self._settle()

    def _show_help(self, row: Field | None) -> None:
        text = Content("")
        if row is not None:
            kind = f"  {row.type_name}" if row.type_name else ""
            said = (f"  {row.error}", "$error") if row.error and row.kind != "button" else (f"  {row.help}", "$muted")
            text = Content.assemble((row.label, "$accent"), (kind, "$faint"), said)
        if row is not None and row.key == "data" and self.rows and not row.error:
            text = Content.assemble(("data", "$accent"), "  ", self._learns(max(20, self.size.width - 8)))
        self.query_one("#field-help", Static).update(text)

    def _blocked(self) -> str:
        """Why it cannot be asked for yet. What the planner says is no reason here: launching says it in full."""
        if not self.answers.model:
            return "choose a model first"
        if not self.answers.data:
            return "choose data first"
        return first_error([row for row in self.form.fields if row.key != "gpus"])

    # Price ------------------------------------------------------------------------------------------------------------

    def _ask_price(self) -> None:
        from .. import asking

        problem = first_error([row for row in self.form.fields if row.key not in ("gpus", "data")])
        if not self.answers.model or problem:
            self.priced = None
            self._say_price(Content.styled(problem or "choose a model to see what it costs", "$muted"))
            return
        home, asked, rows = self.app.home, replace(self.answers), self.rows
        self.work(lambda: asking.price(home, asked, rows), self._have_price, failed=self._no_price, group="price")

    def _have_price(self, priced: Priced) -> None:
        self.priced = priced
        self._show_price()
        lacking = [price.title for price in priced.prices if price.plan and not price.plan.fits]
        short = priced.best is not None and (bool(lacking) if self.answers.comparing else not priced.best.fits)
        alone = f"does not fit: {self.keys_line(('new.fit', 'makes it fit'))}"
        said = f"{', '.join(lacking)} will not fit" if self.answers.comparing else alone
        self._set_note("gpus", "", said if short else "")

    def _show_price(self) -> None:
        priced = self.priced
        if priced is None or priced.best is None:
            return
        width = self.query_one("#price").size.width - 2
        if self.answers.comparing:
            lines = compared_lines(priced, self.app.glyphs, width)
        else:
            short = not self.has_class("-wide") or self.has_class("-low")
            lines = price_lines(priced, self.app.glyphs, width, short=short, way_out=self.keys_line(("new.fit", "makes it fit")))
        first = priced.prices[0].device
        place = f"on {'the CPU' if first.kind == 'cpu' else first.name}"
        self.titled(self.query_one("#price"), "Memory at the peak", place)
        self._say_price(lines)

    def _no_price(self, problem: FineTUIError) -> None:
        self.priced = None
        self._say_price(Content.assemble((problem.message, "$error"), (f"\n{problem.hint}" if problem.hint else "", "$muted")))

    def _say_price(self, lines: Content) -> None:
        self.query_one("#price-lines", Static).update(lines)

    # Data -------------------------------------------------------------------------------------------------------------

    def _read_data(self) -> None:
        from .. import asking

        if not self.answers.data:
            self.notes["data"] = ("enter chooses", "")
            return
        self._set_note("data", "reading", "")
        home, asked = self.app.home, replace(self.answers)
        self.work(lambda: asking.read_data(home, asked), self._have_data, failed=self._no_data, group="data")

    def _have_data(self, seen: DataSeen) -> None:
        report, self.rows, error = seen.report, seen.rows, ""
        if report.problem_count:
            first = report.problems[0]
            error = f"{plural(report.problem_count, 'problem')}, first: {Path(first.source).name}: {first.message}"
        self._set_note("data", f"{plural(report.rows, 'row')}, {report.format}", error)
        labelled = seen.task == "causal-lm" and not self.answers.task and "label" in report.columns
        note = f"{seen.task}; seq-cls learns the labels" if labelled else f"{seen.task}: {seen.why}"
        self._set_note("task", "" if self.answers.task else note, "")
        self._show_rows()
        self._show_help(self.form.current)
        self._ask_price()

    def _no_data(self, problem: FineTUIError) -> None:
        self.rows = ()
        self._show_rows()
        self._set_note("data", "", problem.message)

    def _learns(self, width: int) -> Content:
        return learns_from(self.rows[0], self.answers.settings.get("loss_on", "assistant"), self.app.glyphs, width)

    def _show_rows(self) -> None:
        width = self.query_one("#data-pane").size.width - 2
        text = self._learns(width * 2) if self.rows else Content.styled("choose data to see its first row", "$muted")
        self.query_one("#learns-from", Static).update(text)

    # What the form says -----------------------------------------------------------------------------------------------

    def on_form_changed(self, event: Form.Changed) -> None:
        """A value was changed."""
        if event.field.key in ("columns", "objective", "task"):
            read_answers(self.form.fields, self.answers)
            self._read_data()
        self._follow()

    def on_form_moved(self, event: Form.Moved) -> None:
        """The cursor moved."""
        self._show_help(event.field)

    def on_form_pressed(self, event: Form.Pressed) -> None:
        """Enter on Start."""
        self.action_act("new.start")

    def on_form_picked(self, event: Form.Picked) -> None:
        """Enter on a field that is chosen from a list."""
        getattr(self, f"pick_{event.field.key}")()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What is missing, or what a comparison does not do."""
        if name in ("start", "queue") and self._started:
            return "it is being started"
        if name == "queue" and self.answers.comparing:
            return "the trainings of a comparison wait for their devices by themselves: ctrl+s"
        if name in ("start", "queue"):
            return self._blocked() if self.is_attached and self.form.fields else ""
        if name == "data" and not self.answers.data:
            return "choose data first"
        if name == "fit":
            return self._why_no_fit()
        return ""

    def _why_no_fit(self) -> str:
        if self.answers.comparing:
            return "choose one method to make it fit; in a comparison, those that do not are left out with the reason"
        if self.plan is None:
            return "there is no price yet"
        return "it fits already" if self.plan.fits else ""

    def do_start(self) -> None:
        self._launch(queue=False)

    def do_queue(self) -> None:
        self._launch(queue=True)

    def _launch(self, *, queue: bool) -> None:
        from .. import asking

        self._started = True
        home, asked = self.app.home, replace(self.answers)
        self.form.field("start").note = "checking and starting"
        self.form.update_lines()
        if asked.comparing:
            self.work(lambda: asking.start_comparison(home, asked), self._comparison_started, failed=self._refused)
        else:
            self.work(lambda: asking.start_training(home, asked, queue=queue), self._run_started, failed=self._refused)

    def _run_started(self, run_id: str) -> None:
        self.app.look_again()
        self.app.switch_to_run(run_id)

    def _comparison_started(self, run_id: str) -> None:
        self.app.look_again()
        self.app.switch_to_comparison(run_id)

    def _refused(self, problem: FineTUIError) -> None:
        self._started = False
        self._follow()
        self.app.show_error(problem)

    def do_fit(self) -> None:
        from .. import asking

        home, asked, rows = self.app.home, replace(self.answers), self.rows
        self.work(lambda: asking.make_it_fit(home, asked, rows), self._have_fit, group="fit")

    def _have_fit(self, change: Change | None) -> None:
        if change is None:
            self.app.notify("no change of settings is enough: see what the memory pane advises", severity="warning", timeout=8)
            return
        said = []
        for name, value in change.settings.items():
            field = self.form.field(f"training.{name}")
            if field.value != value:
                said.append(f"{name} {show_value(field.value)} {self.app.glyphs.arrow} {show_value(value)}")
                field.set(value)
        self.form.show(self.form.fields, f"training.{next(iter(change.settings))}")
        self._follow()
        self.app.notify("\n".join(said), title="To make it fit", timeout=8, markup=False)

    def do_fold(self) -> None:
        self.form.fold(not self.form.unfolded)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.answers.command(self.app.settings))
        self.app.notify("copied the command")

    def do_words(self) -> None:
        from .words import WordsDialog

        usual = self.app.settings
        self.app.push_screen(WordsDialog(self.answers.command(usual), self.answers.file_command, self.answers.toml(usual)))

    def do_data(self) -> None:
        from .preview import PreviewScreen

        self.app.push_screen(PreviewScreen(self.answers))
