"""A new run: five answers and the options on one page, and the price before the launch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical
from textual.content import Content
from textual.widgets import Static

from ...core.embedded import QUICK_SETTINGS, dataset, dataset_names
from ...core.errors import DataError, FineTUIError
from ..actions import bindings
from ..backend import Shelf
from ..format import human_count, plural
from ..newrun import (
    Answers,
    data_choices,
    fields_of,
    first_error,
    is_data_file,
    is_model_folder,
    read_answers,
    split_changed,
)
from ..widgets.fields import Field
from ..widgets.form import Form
from ..widgets.price import price_lines
from .base import View
from .messages import PickDialog

if TYPE_CHECKING:
    from ...core.api import Example
    from ...core.data.checking import DataReport
    from ...core.planner.memory import Plan


class NewRunScreen(View):
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
        """Of pick fields: note and error."""
        self.plan: Plan | None = None
        self.rows: Sequence[Example] = ()
        """The first rows of the data; their lengths decide the price."""
        self._started = False

    def content(self) -> ComposeResult:
        """Form left, price and command right."""
        with Horizontal(id="new-columns", classes="columns"):
            with Vertical(id="new-left", classes="pane"):
                yield Form(id="form", glyphs=self.app.glyphs)
                yield Static(id="field-help")
            with Vertical(id="new-right"):
                with Vertical(id="price", classes="pane"):
                    yield Static(id="price-lines")
                with Vertical(id="command-pane", classes="pane"):
                    yield Static(id="command")

    def on_mount(self) -> None:
        """Show the form at once; catalog, data and price come as they are read."""
        from .. import backend

        self.titled(self.query_one("#new-left"), "New run")
        self.titled(self.query_one("#price"), "Memory at the peak")
        self.titled(self.query_one("#command-pane"), "The same as a command", "y copy")
        if self.app.settings.gpus != "auto" and self.answers.gpus == "auto":
            self.answers.gpus = self.app.settings.gpus
        self.answers.share_gpu = self.answers.share_gpu or self.app.settings.share_gpu
        self._rebuild(cursor="start" if self.ready else "model")
        self.query_one(Form).focus()
        self.work(lambda: backend.read_catalog(self.app.home), self._have_catalog, group="catalog")
        self._read_data()

    @property
    def form(self) -> Form:
        """The form."""
        return self.query_one("#form", Form)

    # State ------------------------------------------------------------------------------------------------------------

    def _have_catalog(self, shelf: Shelf) -> None:
        self.shelf = shelf
        if not self.answers.model:
            usable = [entry for entry in shelf.models if not entry.problem]
            if len(usable) == 1:
                self.answers.model = usable[0].name
        self._describe_model()
        self._rebuild()

    def _describe_model(self) -> None:
        name = self.answers.model
        entry = next((entry for entry in (self.shelf.models if self.shelf else []) if name in (entry.name, entry.path)), None)
        note = f"{human_count(entry.parameters)} parameters, {entry.dtype}, {entry.architecture}" if entry else ""
        self.notes["model"] = (note or ("enter chooses" if not name else ""), entry.problem if entry else "")

    def _rebuild(self, cursor: str = "") -> None:
        """Make the fields anew (another method has other options)."""
        from .. import backend

        plugin, problem = backend.method(self.answers.method)
        self.notes["method"] = (getattr(plugin, "title", ""), problem)
        fields = fields_of(self.answers, plugin, backend.objective_names())
        for row in fields:
            note, error = self.notes.get(row.key, (row.note, row.error))
            row.note, row.error = note or row.note, error
        self.form.show(fields, cursor)
        self._follow()

    def _follow(self) -> None:
        """Everything that depends on the fields."""
        read_answers(self.form.fields, self.answers)
        self.query_one("#command", Static).update(Content(self.answers.command()))
        button = self.form.field("start")
        button.note, button.error = self._blocked() or "enter or ctrl+s", self._blocked()
        self.form.update_lines()
        self._show_help(self.form.current)
        self.keys_changed()
        self._ask_price()

    def _ask_price(self) -> None:
        from .. import backend

        answers = self.answers
        problem = first_error(self.form.fields)
        if not answers.model or problem:
            self._say_price(Content.styled(problem or "choose a model to see what it costs", "$muted"))
            return
        training, method = split_changed(self.form.fields)
        home, asked, rows = self.app.home, replace(answers), self.rows
        self.work(
            lambda: backend.price(home, asked, answers.method, method, training, rows),
            self._have_price,
            failed=self._no_price,
            group="price",
        )

    def _have_price(self, priced: tuple[Plan, str]) -> None:
        self.plan, device = priced
        short = not self.has_class("-wide")
        self.titled(self.query_one("#price"), "Memory at the peak", f"on {device}")
        self._say_price(price_lines(self.plan, self.app.glyphs, self.query_one("#price").size.width - 2, short=short))
        self._set_note("gpus", "", "" if self.plan.fits else "does not fit")

    def _no_price(self, problem: FineTUIError) -> None:
        self.plan = None
        self._say_price(Content.assemble((problem.message, "$error"), (f"\n{problem.hint}" if problem.hint else "", "$muted")))

    def _say_price(self, lines: Content) -> None:
        self.query_one("#price-lines", Static).update(lines)

    def _read_data(self) -> None:
        from .. import backend

        if not self.answers.data:
            self.notes["data"] = ("enter chooses", "")
            return
        self._set_note("data", "reading", "")
        home, asked = self.app.home, replace(self.answers)
        self.work(lambda: backend.read_data(home, asked), self._have_data, failed=self._no_data, group="data")

    def _have_data(self, read: tuple[DataReport, Sequence[Example]]) -> None:
        (report, self.rows), error = read, ""
        if report.problem_count:
            first = report.problems[0]
            error = f"{plural(report.problem_count, 'problem')}, first: {Path(first.source).name}: {first.message}"
        self._set_note("data", f"{plural(report.rows, 'row')}, {report.format}", error)
        self._ask_price()

    def _no_data(self, problem: FineTUIError) -> None:
        self._set_note("data", "", problem.message)

    def _set_note(self, key: str, note: str, error: str) -> None:
        self.notes[key] = (note, error)
        row = self.form.field(key)
        row.note, row.error = note, error
        button = self.form.field("start")
        button.note, button.error = self._blocked() or "enter or ctrl+s", self._blocked()
        self.form.update_lines()
        self.keys_changed()

    def _show_help(self, row: Field | None) -> None:
        text = Content("")
        if row is not None:
            kind = f"  {row.type_name}" if row.type_name else ""
            said = (f"  {row.error}", "$error") if row.error and row.kind != "button" else (f"  {row.help}", "$muted")
            text = Content.assemble((row.label, "$accent"), (kind, "$faint"), said)
        self.query_one("#field-help", Static).update(text)

    def _blocked(self) -> str:
        """Why the run cannot be asked for yet. What the planner says is no reason here: launching says it in full."""
        if not self.answers.model:
            return "choose a model first"
        if not self.answers.data:
            return "choose data first"
        return first_error([row for row in self.form.fields if row.key != "gpus"])

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
        getattr(self, f"_pick_{event.field.key}")()

    def _pick_model(self) -> None:
        entries = [
            (entry.name, entry.name, entry.problem or f"{human_count(entry.parameters)}  {entry.dtype}  {entry.source}")
            for entry in (self.shelf.models if self.shelf else [])
        ]

        def chosen(value: str | None) -> None:
            if value:
                self.answers.model = value
                self._describe_model()
                self._rebuild()
                self._read_data()  # an encoder reads rows as texts with labels

        self.app.push_screen(PickDialog("Base model", entries, chosen=self.answers.model, paths=is_model_folder), chosen)

    def _pick_data(self) -> None:
        embedded = {name: dataset(name) for name in dataset_names()}

        def chosen(value: str | None) -> None:
            if value:
                self.answers.data = [value]
                pair = next((embedded.get(f"{name}_eval") for name, path in embedded.items() if str(path) == value), None)
                self.answers.eval_data = [str(pair)] if pair else []
                self._read_data()
                self._rebuild()

        now = self.answers.data[0] if self.answers.data else ""
        self.app.push_screen(PickDialog("Data", data_choices(embedded, Path.cwd()), chosen=now, paths=is_data_file), chosen)

    def _pick_eval_data(self) -> None:
        embedded = {name.removesuffix("_eval") + " (evaluation)": dataset(name) for name in dataset_names() if name.endswith("_eval")}
        entries = [("none", "none", "set a part of the data aside"), *data_choices(embedded, Path.cwd())]

        def chosen(value: str | None) -> None:
            if value:
                self.answers.eval_data = [] if value == "none" else [value]
                self._rebuild()

        self.app.push_screen(PickDialog("Evaluation data", entries, paths=is_data_file), chosen)

    def _pick_method(self) -> None:
        from .. import backend

        def chosen(value: str | None) -> None:
            if value:
                self.answers.method = value
                self._rebuild()

        def show(choices: list[tuple[str, str, str]]) -> None:
            entries = [(name, name, note) for name, note, _ in choices]
            reasons = {name: reason for name, _, reason in choices}
            self.app.push_screen(PickDialog("Method", entries, chosen=self.answers.method, reasons=reasons), chosen)

        home, asked, rows = self.app.home, replace(self.answers), self.rows
        training = split_changed(self.form.fields)[0]
        self.work(lambda: backend.method_choices(home, asked, training, rows), show, group="methods")

    def _pick_gpus(self) -> None:
        entries = [("auto", "auto", "the GPU with most free memory, else the CPU"), ("none", "none", "the CPU")]
        entries += [(device.id, f"GPU {device.id}", device.name) for device in self.app.devices if device.kind != "cpu" and device.usable]

        def chosen(value: str | None) -> None:
            if value:
                self.answers.gpus = value
                self._rebuild()

        self.app.push_screen(PickDialog("Device", entries, chosen=self.answers.gpus), chosen)

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What is missing before a start."""
        if name in ("start", "queue"):
            return "it is being started" if self._started else (self._blocked() if self.is_attached and self.form.fields else "")
        if name == "check" and not self.answers.data:
            return "choose data first"
        return ""

    def do_start(self) -> None:
        self._launch(queue=False)

    def do_queue(self) -> None:
        self._launch(queue=True)

    def _launch(self, *, queue: bool) -> None:
        from .. import backend

        self._started = True
        home, arguments, priority = self.app.home, self.answers.arguments(), self.answers.priority
        self.form.field("start").note = "checking and starting"
        self.form.update_lines()
        self.work(lambda: backend.start_training(home, arguments, queue=queue, priority=priority), self._run_started, failed=self._refused)

    def _run_started(self, run_id: str) -> None:
        self.app.look_again()
        self.app.switch_to_run(run_id)

    def _refused(self, problem: FineTUIError) -> None:
        self._started = False
        self._follow()
        self.app.show_error(problem)

    def do_fold(self) -> None:
        self.form.fold(not self.form.unfolded)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.answers.command())
        self.app.notify("copied the command")

    def do_check(self) -> None:
        from .. import backend

        def checked(read: tuple[DataReport, Sequence[Example]]) -> None:
            self._have_data(read)
            report = read[0]
            if not report.problem_count:
                self.app.notify(f"{plural(report.rows, 'row')} of {report.format}, no problem")
                return
            listed = "\n".join(f"{problem.source}: {problem.message}" for problem in report.problems)
            self.app.show_error(DataError(listed, f"{plural(report.problem_count, 'problem')}, {plural(report.rows, 'good row')}"))

        home, asked = self.app.home, replace(self.answers)
        self.work(lambda: backend.read_data(home, asked), checked)
