"""The playground: talk to a base, swap its adapters in microseconds, let several answer side by side, or blend them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual import events
from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.widgets import Input

from ...core.embedded import BASE_MODEL_NAME
from ...core.errors import FineTUIError
from ..actions import bindings
from ..backend import Shelf
from ..format import duration, human_count, swap_time
from ..glyphs import shorten
from ..roster import Roster
from ..talk import BLEND, Conversation, Manner, Piece, Voices
from ..widgets.exchange import ExchangeView
from ..widgets.messageline import MessageLine
from .base import View
from .messages import PickDialog
from .prompts import KeepingActions
from .voicepane import VoiceActions, VoicePane

if TYPE_CHECKING:
    from ...core.inference import Answer, LoadedAdapter

_ENDS = {"cancelled": "stopped", "length": "cut at max_new_tokens"}


class ChatScreen(VoiceActions, KeepingActions, View):
    """The conversation left, the voices and the settings right.

    Attributes:
        answers: to the last prompt, by voice.
        asked: how they were to be written.
    """

    SCOPE = "chat"
    BINDINGS = bindings("chat")

    def __init__(self) -> None:
        super().__init__()
        self.model = ""
        self.pane = VoicePane(id="chat-right", classes="pane", glyphs=self.app.glyphs)
        self.shelf: Shelf | None = None
        self.voices: Voices | None = None
        self.status = ""
        self.busy = self.editing = False
        self.conversation = Conversation()
        self.last_answer = ""
        self.answers: dict[str, Answer] = {}
        self.asked = Manner()
        self._views: list[ExchangeView] = []
        """Of the conversation's exchanges, in order."""
        self._waiting: list[tuple[str, ExchangeView]] = []
        """Messages written while the base is being loaded, each with the place of its answers."""

    def content(self) -> ComposeResult:
        """Conversation and message line left, voices and settings right."""
        with Horizontal(id="chat-columns", classes="columns"):
            with Vertical(id="chat-left"):
                yield VerticalScroll(id="talk", classes="pane", can_focus=True)
                with Vertical(id="message-line"):
                    yield MessageLine(self.app.glyphs.line_end, id="message")
            yield self.pane

    def on_mount(self) -> None:
        """Load the model that was asked for, or the built-in one."""
        self.message.focus()
        self._edits(False)
        self.titled(self.query_one("#chat-settings"), "Settings", "esc closes")
        if not self.model:
            self.open(BASE_MODEL_NAME)

    def on_unmount(self) -> None:
        """The worker ends with the screen."""
        if self.voices is not None:
            self.voices.close()

    def on_screen_resume(self) -> None:
        """New adapters may be there."""
        super().on_screen_resume()
        if self.shelf is not None:
            self._read_catalog()

    @property
    def roster(self) -> Roster:
        """Who can answer, and who does."""
        return self.pane.roster

    @property
    def message(self) -> MessageLine:
        """Where messages are written."""
        return self.query_one("#message", MessageLine)

    @property
    def talk(self) -> VerticalScroll:
        """The conversation."""
        return self.query_one("#talk", VerticalScroll)

    # The worker -------------------------------------------------------------------------------------------------------

    def open(self, model: str, adapter: str = "") -> None:
        """Talk to a base, with an adapter switched on."""
        if model != self.model or self.voices is None:
            if model != self.model:
                self.model, self.pane.roster = model, Roster(Path(model).name)
                self.do_clear()
            self._open()
        self.roster.choose(adapter)
        self._read_catalog()
        if adapter:
            self.load(adapter)

    def _open(self) -> None:
        """A new worker, in the place of the one there may be."""
        if self.voices is not None:
            self.voices.close()
        if self.busy:
            self._answered("stopped")
        self.voices = voices = Voices(self.app.home, self.model, self.app.settings.gpus, share_gpu=self.app.settings.share_gpu)
        self.roster.forget()
        self.status = "loading"
        self.work(voices.open, self._ready, failed=lambda problem: self._failed(problem, voices), group="open")
        self.show_voices()

    def _read_catalog(self) -> None:
        from .. import backend

        self.work(lambda: backend.read_catalog(self.app.home), self._have_catalog, group="catalog")

    def _have_catalog(self, shelf: Shelf) -> None:
        self.shelf = shelf
        entry = next((entry for entry in shelf.models if self.model in (entry.name, entry.path)), None)
        path = entry.path if entry else self.model
        self.roster.model_name = entry.name if entry else self.roster.model_name
        self.roster.adapters = [one for one in shelf.adapters if one.base_path == path and not one.problem and one.path != path]
        self.show_voices()

    def _ready(self, status: dict[str, Any]) -> None:
        self.roster.model_name = str(status.get("model") or self.roster.model_name)
        self.status = f"on {status.get('device', '?')}, loaded in {duration(status.get('seconds'))}"
        self.show_voices()
        if self._waiting:
            self._ask(*self._waiting.pop(0))
        elif self.roster.current not in ("", BLEND):
            self.load(self.roster.current)

    def _failed(self, problem: FineTUIError, voices: Voices) -> None:
        if self.voices is not voices:  # another model was chosen meanwhile
            return
        self.status, self.busy, self.voices = "not loaded", False, None
        for _, view in self._waiting:
            view.fail("not sent")
        self._waiting = []
        self.show_voices()
        self.app.show_error(problem)

    def load(self, path: str, then: Callable[[LoadedAdapter], object] | None = None) -> None:
        """Read an adapter into memory meanwhile, and then do something."""
        voices = self.voices
        if voices is None or not voices.ready:
            return

        def loaded(adapter: LoadedAdapter) -> None:
            self.roster.resident.add(path)
            self._say_swap(path, f"loaded in {swap_time(adapter.seconds)}")
            if then is not None:
                then(adapter)
            self.show_voices()

        self.work(lambda: voices.load(path), loaded)

    # Voices -----------------------------------------------------------------------------------------------------------

    def show_voices(self) -> None:
        """Who answers, or how, has changed."""
        if not self.is_attached or not self.query("#voices"):
            return
        self.pane.show()
        dot, settings = self.app.glyphs.dot, self.pane.settings
        self.titled(self.talk, f" {dot} ".join(filter(None, [self.roster.model_name, settings])), f"{dot} {self.status}")
        if not self.pane.border_title:
            self.titled(self.pane, "Adapters", "space: side by side")
        self.keys_changed()

    def _say_swap(self, voice: str, words: str) -> None:
        room = max(8, self.pane.size.width - len(words) - 8)
        self.titled(self.pane, f"{shorten(self.roster.called(voice), room, self.app.glyphs)}  {words}")

    def on_voice_pane_chosen(self) -> None:
        """Enter in the list: load it meanwhile, and write."""
        self.show_voices()
        if self.roster.current not in ("", BLEND):
            self.load(self.roster.current)
        self.message.focus()

    def on_voice_pane_changed(self) -> None:
        """Marks or settings."""
        self.show_voices()

    # Talking ----------------------------------------------------------------------------------------------------------

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Enter in the message line: a message, or a command as in ``finetui chat``."""
        prompt, last = self.message.text.strip(), self.conversation.last
        if not prompt or event.input is not self.message:
            return
        try:
            command = self.roster.obey(prompt, last.prompt if last else "")
        except FineTUIError as problem:
            self.app.show_error(problem)
            return
        if command is not None:
            self.message.value = ""
            self.show_voices()
            for path in [self.roster.current, *self.roster.weights]:
                if path not in ("", BLEND):
                    self.load(path)
        if command != "":
            self._send(command or prompt)

    def _send(self, prompt: str, manner: Manner | None = None) -> None:
        if self.busy:
            self.app.notify(self.why_not("again"), severity="warning")
            return
        self.message.value = ""
        if self.editing:
            self._withdraw()
        self.asked = manner or self.pane.manner
        if self.voices is None:
            self._open()
        view = self._draw(prompt)
        if self.voices is not None and not self.voices.ready:
            self._waiting.append((prompt, view))
            self.app.notify(f"{self.roster.model_name} is still being loaded; your message is sent as soon as it is there")
            return
        self._ask(prompt, view)

    def _draw(self, prompt: str) -> ExchangeView:
        """Show what was said; returns the place for its answers."""
        view = ExchangeView(prompt, self.app.glyphs)
        self.talk.mount(view)
        self.talk.scroll_end(animate=False)
        return view

    def _ask(self, prompt: str, view: ExchangeView) -> None:
        voices, manner, weights = self.voices, self.asked, dict(self.roster.weights)
        assert voices is not None
        self.conversation.ask(prompt)
        self._views.append(view)
        messages = {voice: self.conversation.messages(voice, manner.system) for voice in self.roster.answering}
        view.expect({voice: self.roster.called(voice) for voice in messages})
        self.talk.scroll_end(animate=False)
        self.busy, self.answers = True, {}
        self.keys_changed()
        self.work(
            lambda: voices.answer(messages, weights, manner.sampling(), self.post_message),
            lambda _: self._answered("stopped", voices),
            failed=lambda problem: self._not_answered(problem, voices),
        )

    def on_piece(self, piece: Piece) -> None:
        """More of an answer."""
        if not self.busy or piece.target not in self._views[-1].texts:
            return
        note, at_end = "", self.talk.scroll_y >= self.talk.max_scroll_y - 2
        if piece.answer is not None:
            note = self._figures(piece.target, piece.answer)
            self.conversation.answered(piece.target, piece.text)
            self.answers[piece.target], self.last_answer = piece.answer, piece.text
            self.roster.resident |= {path for path in (piece.target, *piece.answer.blend) if path not in ("", BLEND)}
            self._say_swap(piece.target, swap_time(self.roster.swaps[piece.target]))
            self.show_voices()
        self._views[-1].texts[piece.target].tell(note, piece.text or "(nothing)")
        if at_end:
            self.talk.scroll_end(animate=False)

    def _figures(self, voice: str, answer: Answer) -> str:
        """What stands after the name: the swap, the speed, how it ended."""
        self.roster.swapped(voice, answer.swap_seconds)
        figures = [swap_time(self.roster.swaps[voice])]
        if len(self._views[-1].texts) == 1:  # beside others there is no room
            speed = f"{answer.tokens / answer.seconds:.0f} tok/s" if answer.seconds else ""
            figures += [speed, f"first token {swap_time(answer.first_token_seconds)}", f"{human_count(answer.tokens)} tokens"]
        return "   ".join(filter(None, [*figures, _ENDS.get(answer.finish, "")]))

    def _answered(self, missing: str, voices: Voices | None = None) -> None:
        """Whoever was asked is done; those that said nothing are ``missing``. News of a worker that was replaced says nothing new."""
        if voices is not None and voices is not self.voices:
            return
        self.busy = False
        for voice, text in self._views[-1].texts.items():
            if voice not in self.answers:
                text.tell(f"{self.app.glyphs.states['failed']} {missing}", "")
        if not self.answers:
            self._views.pop()
            prompt = self.conversation.withdraw()
            if not self.message.value:
                self.message.put(prompt)
        if self._waiting and self.voices is not None and self.voices.ready:
            self._ask(*self._waiting.pop(0))
        self.keys_changed()

    def _not_answered(self, problem: FineTUIError, voices: Voices) -> None:
        if self.voices is not voices:
            return
        if not voices.alive:
            voices.close()
            self.voices, self.status = None, "the worker has ended: R starts another"
            self.roster.forget()
        self._answered(f"no answer: {problem.message.splitlines()[0]}")
        self.show_voices()
        self.app.show_error(problem)

    def _withdraw(self) -> str:
        """Take the last prompt and its answers back, here and on the screen."""
        self._edits(False)
        self._views.pop().remove()
        self.answers = {}
        return self.conversation.withdraw()

    def _edits(self, editing: bool) -> None:
        self.editing = editing
        self.titled(self.query_one("#message-line"), "Message", "in place of the last one; esc leaves that" if editing else "")

    def on_message_line_stopped(self) -> None:
        """ctrl+x where text is written."""
        self.action_act("chat.cancel")

    def on_key(self, event: events.Key) -> None:
        """Esc leaves the message line or the settings."""
        if event.key == "escape" and self.focused is self.message:
            event.stop()
            self._edits(False)
            self.pane.lines.focus()
        elif event.key == "escape" and self.pane.has_class("-settings"):
            event.stop()
            self.pane.toggle_settings()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What the state forbids."""
        if name in ("clear", "model", "again", "edit", "unload", "case") and self.busy:
            return "an answer is being written; ctrl+x stops it"
        if name in ("again", "edit"):
            return "" if self.conversation.last else "nothing was asked yet"
        if name == "cancel":
            return "" if self.busy else "no answer is being written"
        if name == "copy":
            return "" if self.last_answer else "there is no answer yet"
        if name == "restart":
            return "the base is being loaded" if self.voices is not None and not self.voices.ready else ""
        return self.why_not_voice(name) or self.why_not_keep(name)

    def do_write(self) -> None:
        self.message.focus()

    def do_new_line(self) -> None:
        self.message.break_line()

    def do_filter(self) -> None:
        self.pane.filter()

    def do_settings(self) -> None:
        self.pane.toggle_settings()

    def do_again(self) -> None:
        """Sampled answers get another seed, or they would be the same."""
        manner = self.pane.manner
        if manner.temperature:
            manner = replace(manner, seed=max(manner.seed, self.asked.seed) + 1)
        self._send(self._withdraw(), manner)

    def do_edit(self) -> None:
        last = self.conversation.last
        assert last is not None
        self.message.put(last.prompt)
        self._edits(True)

    def do_model(self) -> None:
        entries = [
            (entry.path, entry.name, entry.problem or f"{human_count(entry.parameters)}  {entry.dtype}")
            for entry in (self.shelf.models if self.shelf else [])
        ]

        def chosen(value: str | None) -> None:
            if value:
                self.open(value)

        self.app.push_screen(PickDialog("Talk to", entries, chosen=self.model, paths=lambda path: (path / "config.json").is_file()), chosen)

    def do_clear(self) -> None:
        self.conversation.clear()
        self.answers, self.busy, self._views, self._waiting = {}, False, [], []
        if self.is_attached:
            self._edits(False)
            self.talk.remove_children()

    def do_cancel(self) -> None:
        if self.voices is not None:
            self.voices.cancel()

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.last_answer)
        self.app.notify("copied the last answer")

    def do_restart(self) -> None:
        self._open()

    def do_earlier(self) -> None:
        self.talk.scroll_page_up(animate=False)

    def do_later(self) -> None:
        self.talk.scroll_page_down(animate=False)
