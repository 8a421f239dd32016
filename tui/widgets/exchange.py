"""A prompt and its answers: one below the other, or side by side where there is room."""

from __future__ import annotations

from collections.abc import Mapping

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widget import Widget

from ..glyphs import UNICODE, Glyphs
from .wrapped import Wrapped

WIDE = 100
"""Columns of the terminal from which answers stand side by side."""
NARROWEST = 26
"""No column is narrower."""


class AnswerText(Wrapped):
    """One voice's answer: who says it, the swap's time, then the text as it comes."""

    def __init__(self, name: str) -> None:
        super().__init__(Content.styled(name, "$accent"))
        self.voice_name = name

    def tell(self, note: str, text: str | Content) -> None:
        """Show the answer so far, or whole, with figures after the name."""
        self.say(Content.assemble((self.voice_name, "bold $accent"), (f"  {note}" if note else "", "$muted"), "\n", text))


class Answers(Widget):
    """Answers in a grid of as many columns as fit."""

    DEFAULT_CSS = "Answers { layout: grid; grid-size: 1; grid-rows: auto; grid-gutter: 1 2; height: auto; }"

    def __init__(self) -> None:
        super().__init__()
        self._first: list[Wrapped] = []
        """Those that were added before this was on the screen."""

    def compose(self) -> ComposeResult:
        """What is there already."""
        yield from self._first

    def add(self, *texts: Wrapped) -> None:
        """Add cells."""
        if self.is_attached:
            self.mount(*texts)
            self._arrange(len(self.children))
        else:
            self._first += texts

    def on_resize(self) -> None:
        """More or fewer columns fit."""
        self._arrange(len(self.children))

    def _arrange(self, cells: int) -> None:
        fit = self.size.width // NARROWEST if self.app.size.width >= WIDE else 1
        columns = max(1, min(cells, fit))
        if self.styles.grid_size_columns != columns:
            self.styles.grid_size_columns = columns


class ExchangeView(Vertical):
    """What was said, and what was answered.

    Attributes:
        texts: the answers, by voice.
    """

    DEFAULT_CSS = "ExchangeView { height: auto; margin-bottom: 1; } ExchangeView > .prompt { margin-bottom: 1; }"

    def __init__(self, prompt: str, glyphs: Glyphs = UNICODE) -> None:
        super().__init__()
        self.glyphs = glyphs
        self.texts: dict[str, AnswerText] = {}
        self._prompt = Wrapped(Content.assemble(("you  ", "$muted"), (prompt, "bold $foreground")), classes="prompt")
        self._answers = Answers()

    def compose(self) -> ComposeResult:
        """Prompt above answers."""
        yield self._prompt
        yield self._answers

    def expect(self, names: Mapping[str, str]) -> None:
        """Make room for the answers of these voices (voice → name)."""
        self.texts = {voice: AnswerText(name) for voice, name in names.items()}
        for text in self.texts.values():
            text.tell("", self.glyphs.ellipsis)
        self._answers.add(*self.texts.values())

    def fail(self, reason: str) -> None:
        """Say below the prompt that it was not answered."""
        self._answers.add(Wrapped(Content.styled(f"{self.glyphs.states['failed']} {reason}", "$error")))
