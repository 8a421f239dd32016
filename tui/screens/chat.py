"""Chat with a base model; swap its adapters in milliseconds, or let several answer the same prompt side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.message import Message
from textual.widgets import Input, OptionList, Static

from ...core.embedded import BASE_MODEL_NAME
from ...core.errors import FineTUIError
from ...core.options import parse
from ..actions import bindings
from ..backend import Shelf
from ..format import duration, human_count, swap_time
from ..talk import Conversation, Piece, Sampling, Voices, voice_name
from ..widgets.fields import Field, changed_values, option_fields
from ..widgets.lists import Lines
from .base import View
from .messages import PickDialog
from .transfers import FormDialog

SIDE_BY_SIDE_WIDTH = 70


class VoiceLines(Lines):
    """The base and its adapters; space marks those that answer together."""

    class Marked(Message):
        """Space on a line."""

        def __init__(self, voice: str) -> None:
            super().__init__()
            self.voice = voice

    def do_mark(self) -> None:
        if self.chosen:
            self.post_message(self.Marked(self.chosen.removeprefix("voice:")))


class SamplingDialog(FormDialog):
    """Sampling settings."""

    title_text = "How answers are written"
    starts_at_end = False

    def __init__(self, sampling: Sampling) -> None:
        super().__init__()
        self.sampling = sampling

    def fields(self) -> list[Field]:
        """The declared options."""
        values = {name: getattr(self.sampling, name) for name in self.sampling.__dataclass_fields__}
        return [*option_fields(Sampling, values, "sampling"), Field("go", "Use these", "button")]

    def do_accept(self) -> None:
        self.dismiss(parse(Sampling, changed_values(self.form.fields, "sampling")))


class ChatScreen(View):
    """The conversation left, the voices right."""

    SCOPE = "chat"
    BINDINGS = bindings("chat")

    def __init__(self) -> None:
        super().__init__()
        self.model = self.model_name = ""
        self.current = ""
        self.marked: list[str] = []
        self.shelf: Shelf | None = None
        self.voices: Voices | None = None
        self.status = ""
        self.busy = False
        self.conversation = Conversation()
        self.sampling = Sampling()
        self.last_answer = ""
        self._open: dict[str, Static] = {}
        self._waiting: list[tuple[str, Vertical]] = []
        """Messages written while the base is being loaded, each with the place of its answers."""

    def content(self) -> ComposeResult:
        """Conversation and message line left, voices right."""
        with Horizontal(id="chat-columns", classes="columns"):
            with Vertical(id="chat-left"):
                yield VerticalScroll(id="talk", classes="pane", can_focus=True)
                with Vertical(id="message-line"):
                    yield Input(placeholder="say something, enter sends", id="message", select_on_focus=False)
            with Vertical(id="chat-right", classes="pane"):
                yield VoiceLines(id="voices")

    def on_mount(self) -> None:
        """Load the model that was asked for, or the built-in one."""
        message = self.query_one("#message", Input)
        message.cursor_blink = False
        message.focus()
        self.titled(self.query_one("#message-line"), "Message")
        if not self.model:
            self.open(BASE_MODEL_NAME)

    def on_unmount(self) -> None:
        """The worker ends with the screen."""
        if self.voices is not None:
            self.voices.close()

    def on_screen_resume(self) -> None:
        """New adapters may be there."""
        if self.shelf is not None:
            self._read_catalog()

    # State ------------------------------------------------------------------------------------------------------------

    def open(self, model: str, adapter: str = "") -> None:
        """Talk to a base, with an adapter switched on."""
        if model != self.model or self.voices is None:
            if self.voices is not None:
                self.voices.close()
            if model != self.model:
                self.model, self.model_name, self.marked = model, Path(model).name, []
                self.do_clear()
            self.voices = voices = Voices(self.app.home, model, self.app.settings.gpus, share_gpu=self.app.settings.share_gpu)
            self.status = "loading"
            self.work(voices.open, self._ready, failed=lambda problem: self._failed(problem, voices), group="open")
        self.current = adapter
        self._read_catalog()
        if adapter:
            self._load(adapter)

    def _read_catalog(self) -> None:
        from .. import backend

        self.work(lambda: backend.read_catalog(self.app.home), self._have_catalog, group="catalog")

    def _have_catalog(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self._show_voices()

    def _ready(self, status: dict[str, Any]) -> None:
        self.model_name = str(status.get("model") or self.model_name)
        self.status = f"on {status.get('device', '?')}, loaded in {duration(status.get('seconds'))}"
        self._show_voices()
        if self._waiting:
            self._ask(*self._waiting.pop(0))
        elif self.current:
            self._load(self.current)

    def _failed(self, problem: FineTUIError, voices: Voices) -> None:
        if self.voices is not voices:  # another model was chosen meanwhile
            return
        self.status, self.busy = "not loaded", False
        self.voices = None
        for _, place in self._waiting:
            place.mount(Static(Content.styled(f"{self.app.glyphs.states['failed']} not sent", "$error"), classes="said"))
        self._waiting = []
        self._show_voices()
        self.app.show_error(problem)

    def _load(self, path: str) -> None:
        voices = self.voices
        if voices is None or not voices.ready:
            return

        def loaded(seconds: float) -> None:
            self.titled(self.query_one("#chat-right"), f"Adapters {self.app.glyphs.dot} loaded in {swap_time(seconds)}")

        self.work(lambda: voices.load(path), loaded, group="load")

    def _show_voices(self) -> None:
        if self.shelf is None:
            return
        entry = next((entry for entry in self.shelf.models if self.model in (entry.name, entry.path)), None)
        path = entry.path if entry else self.model
        self.model_name = entry.name if entry else self.model_name
        mine = [adapter for adapter in self.shelf.adapters if adapter.base_path == path and not adapter.problem and adapter.path != path]
        lines = [self._voice_line("", "base")]
        lines += [self._voice_line(adapter.path, adapter.method + (f" r{adapter.rank}" if adapter.rank else "")) for adapter in mine]
        if not mine:
            lines.append(("none", Content.styled("no adapters of this base yet: n trains one", "$muted"), False))
        self.query_one("#voices", Lines).show(lines)
        self.titled(self.query_one("#talk"), f"{self.model_name} {self.app.glyphs.dot} {self.status}")
        if not self.query_one("#chat-right").border_title:
            self.titled(self.query_one("#chat-right"), "Adapters", "space marks several")

    def _voice_line(self, path: str, kind: str) -> tuple[str, Content | str, bool]:
        glyphs = self.app.glyphs
        mark = glyphs.marked if path in self.marked else (glyphs.states["running"] if path == self.current and not self.marked else " ")
        here = path == self.current or path in self.marked
        name = self._called(path) if path else self.model_name
        return (
            f"voice:{path}",
            Content.assemble((f"{mark} ", "$accent"), (name, "bold $foreground" if here else "$foreground"), (f"  {kind}", "$muted")),
            True,
        )

    # Talking ----------------------------------------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the message line."""
        prompt = event.value.strip()
        if not prompt:
            return
        if self.busy:
            self.app.notify("an answer is being written; ctrl+x stops it", severity="warning")
            return
        event.input.value = ""
        if self.voices is None:
            self.open(self.model, self.current)
        if self.voices is not None and not self.voices.ready:
            self._waiting.append((prompt, self._draw(prompt)))
            self.app.notify(f"{self.model_name} is still being loaded; your message is sent as soon as it is there")
            return
        self._ask(prompt, self._draw(prompt))

    def _draw(self, prompt: str) -> Vertical:
        """Show what was said; returns the place for its answers."""
        talk, place = self.query_one("#talk", VerticalScroll), Vertical(classes="answers")
        talk.mount(Static(Content.assemble(("you  ", "$muted"), (prompt, "bold $foreground")), classes="said"), place)
        talk.scroll_end(animate=False)
        return place

    def _ask(self, prompt: str, place: Vertical) -> None:
        targets = self.marked or [self.current]
        messages = {voice: self.conversation.ask(voice, prompt, self.sampling.system) for voice in targets}
        talk = self.query_one("#talk", VerticalScroll)
        self._open = {voice: Static(self._said(voice, "", "…"), classes="said") for voice in targets}
        if len(targets) > 1 and talk.size.width >= SIDE_BY_SIDE_WIDTH:
            row = Horizontal(*self._open.values(), classes="said")
            place.mount(row)
            for static in self._open.values():
                static.styles.width = "1fr"
                static.styles.margin = (0, 2, 0, 0)
        else:
            place.mount(*self._open.values())
        talk.scroll_end(animate=False)
        self.busy = True
        self.keys_changed()
        voices, sampling = self.voices, self.sampling
        assert voices is not None
        self.work(lambda: voices.answer(targets, messages, sampling, self.post_message), self._answered, failed=self._not_answered)

    def _called(self, voice: str) -> str:
        """How a voice is called: its name in the catalog where it is there."""
        entry = next((entry for entry in (self.shelf.adapters if self.shelf else []) if entry.path == voice), None)
        return entry.name if entry else voice_name(voice, self.model_name)

    def _said(self, voice: str, note: str, text: str) -> Content:
        name = self._called(voice)
        return Content.assemble((name, "$accent"), (f"  {note}" if note else "", "$faint"), f"\n{text}")

    def on_piece(self, piece: Piece) -> None:
        """More of an answer."""
        static = self._open.get(piece.target)
        if static is None:
            return
        note = ""
        if piece.answer is not None:
            answer = piece.answer
            speed = f"{answer.tokens / answer.seconds:.0f} tok/s" if answer.seconds else ""
            note = f"swap {swap_time(answer.swap_seconds)}  {speed}"
            if len(self._open) == 1:
                note += f"  first token {swap_time(answer.first_token_seconds)}  {human_count(answer.tokens)} tokens"
            self.conversation.answered(piece.target, answer.text)
            self.last_answer = answer.text
            self.titled(
                self.query_one("#chat-right"),
                f"{self._called(piece.target)} {self.app.glyphs.dot} {swap_time(answer.swap_seconds)}",
            )
        talk = self.query_one("#talk", VerticalScroll)
        at_end = talk.scroll_y >= talk.max_scroll_y - 2
        static.update(self._said(piece.target, note, piece.text or "(nothing)"))
        if at_end:
            talk.scroll_end(animate=False)

    def _answered(self, _: None) -> None:
        self.busy = False
        if self._waiting and self.voices is not None and self.voices.ready:
            self._ask(*self._waiting.pop(0))
        self.keys_changed()

    def _not_answered(self, problem: FineTUIError) -> None:
        for voice, static in self._open.items():
            self.conversation.unanswered(voice)
            static.update(Content.styled(f"{self.app.glyphs.states['failed']} no answer: {problem.message}", "$error"))
        self._answered(None)
        if self.voices is not None and self.voices.ready and not self.voices.alive:
            self.voices.close()
            self.voices, self.status = None, "not loaded"
        self.app.show_error(problem)

    # Voices -----------------------------------------------------------------------------------------------------------

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter: this one answers from now on."""
        self.current, self.marked = (event.option_id or "").removeprefix("voice:"), []
        self._show_voices()
        if self.current:
            self._load(self.current)
        self.query_one("#message").focus()

    def on_voice_lines_marked(self, event: VoiceLines.Marked) -> None:
        """Space: this one answers too."""
        if event.voice in self.marked:
            self.marked.remove(event.voice)
        else:
            self.marked.append(event.voice)
        self._show_voices()

    def on_key(self, event: events.Key) -> None:
        """Esc leaves the message line, so that the other keys work."""
        if event.key == "escape" and isinstance(self.focused, Input):
            event.stop()
            self.query_one("#voices").focus()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What the state forbids."""
        if name == "cancel" and not self.busy:
            return "no answer is being written"
        if name == "copy" and not self.last_answer:
            return "there is no answer yet"
        if name in ("clear", "model") and self.busy:
            return "an answer is being written; ctrl+x stops it"
        return ""

    def do_write(self) -> None:
        self.query_one("#message").focus()

    def do_model(self) -> None:
        entries = [
            (entry.path, entry.name, entry.problem or f"{human_count(entry.parameters)}  {entry.dtype}")
            for entry in (self.shelf.models if self.shelf else [])
        ]

        def chosen(value: str | None) -> None:
            if value:
                self.open(value)

        self.app.push_screen(PickDialog("Talk to", entries, chosen=self.model, paths=lambda path: (path / "config.json").is_file()), chosen)

    def do_settings(self) -> None:
        def chosen(sampling: Sampling | None) -> None:
            if sampling is not None:
                self.sampling = sampling

        self.app.push_screen(SamplingDialog(self.sampling), chosen)

    def do_clear(self) -> None:
        self.conversation.clear()
        self._open, self._waiting = {}, []
        if self.is_attached:
            self.query_one("#talk", VerticalScroll).remove_children()

    def do_cancel(self) -> None:
        if self.voices is not None:
            self.voices.cancel()

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.last_answer)
        self.app.notify("copied the last answer")
