"""The right side of the playground: who can answer, the sliders of the blend, and how answers are written."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widgets import Input, OptionList, Static

from ...core.blends import blend_refusal
from ...core.options import parse
from ...core.sampling import changes
from ..glyphs import UNICODE, Glyphs
from ..roster import STEP, Roster
from ..talk import BLEND, Manner, Voices
from ..widgets.fields import changed_values, option_fields
from ..widgets.filterline import FilterLine
from ..widgets.form import Form
from ..widgets.lists import Lines
from .base import Working

if TYPE_CHECKING:
    from ...core.inference import LoadedAdapter


class VoiceLines(Lines):
    """The base, its adapters and the blend; space marks those that answer together."""

    marks = True


class VoicePane(Vertical):
    """Shows a `Roster` and changes it; posts `Chosen` and `Changed`.

    Attributes:
        roster: the voices; whoever changes it calls `show`.
        manner: how the next answer is written.
    """

    class Chosen(Message):
        """Enter on a line: this voice answers from now on."""

    class Changed(Message):
        """Who answers, or how, is another matter now."""

    def __init__(self, *, id: str | None = None, classes: str | None = None, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id=id, classes=classes)
        self.glyphs = glyphs
        self.roster = Roster()
        self.manner = Manner()

    def compose(self) -> ComposeResult:
        """Filter and list, settings below."""
        yield FilterLine(id="voice-filter")
        yield VoiceLines(id="voices")
        with Vertical(id="chat-settings"):
            yield Form(option_fields(Manner, {}, "manner"), id="manner", glyphs=self.glyphs)
            yield Static(id="setting-help")

    @property
    def lines(self) -> Lines:
        """The list."""
        return self.query_one("#voices", Lines)

    @property
    def selected(self) -> str:
        """Path of the adapter under the cursor, in the list or among the sliders; empty on other lines."""
        kind, _, path = self.lines.chosen.partition(":")
        return path if kind in ("voice", "weight") and path != BLEND else ""

    @property
    def settings(self) -> str:
        """What of the manner differs from the defaults, in words."""
        system = "system message" if self.manner.system else ""
        return ", ".join(filter(None, [changes(replace(self.manner, system="")), system]))

    def show(self) -> None:
        """Draw what the roster says."""
        words = self.query_one("#voice-filter", Input).value
        self.lines.show(self.roster.lines(max(20, self.lines.size.width - 3), self.glyphs, words))

    def on_resize(self) -> None:
        """Lines are as wide as the list."""
        self.call_after_refresh(self.show)

    def filter(self) -> None:
        """Open the filter's line."""
        self.query_one("#voice-filter", FilterLine).open()

    def toggle_settings(self) -> None:
        """Show the settings and go there, or hide them and go back to the list."""
        shown = not self.has_class("-settings")
        self.set_class(shown, "-settings")
        self.query_one("#manner" if shown else "#voices").focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter; a slider's line stands for the blend."""
        event.stop()
        self.roster.choose(_voice(event.option_id or ""))
        self.show()
        self.post_message(self.Chosen())

    def on_lines_marked(self, event: Lines.Marked) -> None:
        """Space: this one answers too."""
        event.stop()
        self.roster.mark(_voice(event.identifier))
        self.show()
        self.post_message(self.Changed())

    def on_filter_line_closed(self, event: FilterLine.Closed) -> None:
        """Back to the list."""
        event.stop()
        self.lines.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Typing narrows the list."""
        event.stop()
        self.show()

    def on_form_changed(self, event: Form.Changed) -> None:
        """Settings count from the next answer on."""
        if not any(field.error for field in event.form.fields):
            self.manner = parse(Manner, changed_values(event.form.fields, "manner"))
            self.post_message(self.Changed())

    def on_form_moved(self, event: Form.Moved) -> None:
        """What the field under the cursor means."""
        self.query_one("#setting-help", Static).update(event.field.help)


def _voice(line: str) -> str:
    """The voice that a line of the list stands for."""
    kind, _, path = line.partition(":")
    return BLEND if kind == "weight" else path


class VoiceActions(Working):
    """Mixed into the playground: what is done with the adapter under the cursor."""

    if TYPE_CHECKING:
        pane: VoicePane
        roster: Roster
        voices: Voices | None
        load: Callable[..., None]
        show_voices: Callable[[], None]

    def why_not_voice(self, name: str) -> str:
        """Why nothing can be done with it."""
        path = self.pane.selected if self.pane.is_attached else ""
        if name in ("more", "less"):
            return "" if path in self.roster.weights else "put the cursor on an adapter of the blend; b takes one into it"
        if name == "unload":
            return "" if path in self.roster.resident else "put the cursor on an adapter that is in memory"
        if name != "blend" or path in self.roster.weights:
            return ""
        if not path:
            return "put the cursor on an adapter"
        return "" if self.voices is not None and self.voices.ready else "the base is not loaded yet"

    def do_blend(self) -> None:
        """Into the blend or out of it; what cannot be weighed is refused with the reason."""
        path = self.pane.selected

        def take(adapter: LoadedAdapter) -> None:
            if adapter.no_blend:
                self.app.show_error(blend_refusal(self.roster.called(path), adapter.kind, adapter.no_blend))
            else:
                self._mix(path)

        if path in self.roster.weights:
            self._mix(path)
        else:
            self.load(path, take)

    def _mix(self, path: str) -> None:
        self.roster.mix(path)
        self.show_voices()

    def do_more(self) -> None:
        self._weigh(STEP)

    def do_less(self) -> None:
        self._weigh(-STEP)

    def _weigh(self, by: float) -> None:
        self.roster.weigh(self.pane.selected, by)
        self.show_voices()

    def do_unload(self) -> None:
        """Drop the adapter from memory."""
        path, voices = self.pane.selected, self.voices
        assert voices is not None

        def gone(_: None) -> None:
            self.roster.resident.discard(path)
            self.show_voices()

        self.work(lambda: voices.unload(path), gone)
