"""Settings: a form made from their declaration (`core.config.Settings`); a change is checked, saved and in force at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ...core.config import AT_NEXT_START, Settings, from_environment, load_settings
from ...core.errors import FineTUIError
from ...core.options import to_dict
from ...core.paths import config_file
from ..actions import bindings
from ..keymap import Keymap
from ..widgets.fields import Field, option_fields
from ..widgets.filterline import FilterLine
from ..widgets.form import Form
from .base import View
from .filtered import Filtered

_OWNER = "settings"


class SettingsScreen(Filtered, View):
    """Every setting, grouped; the file that they are kept in stands in the title."""

    SCOPE = "settings"
    FILTERED = "#settings-form"
    BINDINGS = bindings("settings")

    def __init__(self) -> None:
        super().__init__()
        self.fields: list[Field] = []
        self.saved = Settings()
        """What the file says."""
        self._before: list[tuple[str, Any]] = []
        """Changes that can be taken back: key and earlier value, the last one last."""

    def content(self) -> ComposeResult:
        """The filter, the form, and what the setting under the cursor means."""
        with Vertical(classes="pane", id="settings-pane"):
            yield FilterLine(id="filter")
            yield Form(id="settings-form", glyphs=self.app.glyphs)
            yield Static(id="settings-help")

    def on_mount(self) -> None:
        """Read the file."""
        self.form.focus()
        self.do_refresh()

    @property
    def form(self) -> Form:
        """The fields that are shown."""
        return self.query_one("#settings-form", Form)

    def _read(self) -> None:
        self.saved = load_settings()
        fields = option_fields(Settings, to_dict(self.saved, changed_only=True), _OWNER)
        groups = list(dict.fromkeys(field.group for field in fields))
        self.fields = sorted(fields, key=lambda field: groups.index(field.group))
        for field in self.fields:
            self._adapt(field)

    def _adapt(self, field: Field) -> None:
        """What only the screen knows of a setting: themes, actions, what the environment says."""
        name = _name(field)
        field.note = from_environment().get(name, "")
        if name == "theme":
            others = sorted(theme for theme in self.app.available_themes if not theme.startswith("finetui-"))
            field.kind, field.choices = "choice", (*self.app.own_themes, *others)
        if name == "keys":
            declared = field.check
            field.check = lambda value: (declared(value) if declared else "") or "; ".join(Keymap(value).problems)
        field.set(field.value)

    def show_filtered(self) -> None:
        words = self.query_one(FilterLine).value.lower().split()
        shown = [field for field in self.fields if all(word in f"{field.label} {field.help} {field.group}".lower() for word in words)]
        self.form.show(shown)
        self.titled(self.query_one("#settings-pane"), "Settings", str(config_file()))
        self._explain(self.form.current)
        self.keys_changed()

    def _explain(self, field: Field | None) -> None:
        if field is None:
            self.query_one("#settings-help", Static).update(Content.styled("no setting matches the filter; esc clears it", "$muted"))
            return
        when = "from the next start" if _name(field) in AT_NEXT_START else "at once"
        default = Field("", "", "", field.default).shown() or "empty"
        text = Content.assemble((field.help, "$foreground"), (f"  {field.type_name}; default: {default}; in force {when}", "$muted"))
        self.query_one("#settings-help", Static).update(text)

    # What is done -----------------------------------------------------------------------------------------------------

    def on_form_moved(self, event: Form.Moved) -> None:
        """Another setting, another explanation."""
        self._explain(event.field)

    def on_form_changed(self, event: Form.Changed) -> None:
        """Save what is allowed."""
        field, before = event.field, to_dict(self.saved)[_name(event.field)]
        if not field.error and field.value != before:
            self._save(field, lambda: self._before.append((field.key, before)))

    def _save(self, field: Field, remember: Callable[[], object]) -> None:
        from ...core.configfile import save_setting

        def saved(settings: Settings) -> None:
            remember()
            self._saved(settings, field)

        def refused(problem: FineTUIError) -> None:
            self._read()
            self.show_filtered()
            self.app.show_error(problem)

        self.work(lambda: save_setting(_name(field), field.value), saved, failed=refused)

    def _saved(self, settings: Settings, field: Field) -> None:
        self.saved = settings
        self.app.configure(settings)
        later = " from the next start" if _name(field) in AT_NEXT_START else ""
        self.titled(self.query_one("#settings-pane"), "Settings", f"{config_file()}  {self.app.glyphs.marked} {field.label} saved{later}")
        self.keys_changed()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """Nothing to take back before the first change."""
        return "nothing has been changed yet" if name == "undo" and not self._before else ""

    def do_undo(self) -> None:
        key, value = self._before[-1]
        field = next(field for field in self.fields if field.key == key)
        field.set(value)
        self.show_filtered()
        self._save(field, self._before.pop)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(str(config_file()))
        self.app.notify(f"copied {config_file()}")

    def do_refresh(self) -> None:
        try:
            self._read()
        except FineTUIError as problem:
            self.app.show_error(problem)
            return
        self.app.configure(self.saved)
        self.show_filtered()


def _name(field: Field) -> str:
    return field.key.removeprefix(f"{_OWNER}.")
