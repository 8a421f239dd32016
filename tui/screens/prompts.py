"""What the playground keeps: prompts in a library, answers as test cases."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.content import Content

from ..talk import BLEND, Conversation, Manner
from ..widgets.fields import Field
from ..widgets.messageline import MessageLine
from .base import Working
from .messages import PickDialog
from .transfers import FormDialog, needed

if TYPE_CHECKING:
    from pathlib import Path

    from ...core.inference import Answer
    from ...core.prompts import Prompt
    from ..roster import Roster


class SavePromptDialog(FormDialog):
    """Ask for the name of a prompt; dismissed with it."""

    title_text = "Save this prompt"
    starts_at_end = False

    def __init__(self, text: str) -> None:
        super().__init__()
        self.text = text

    def fields(self) -> list[Field]:
        """The name, by default the prompt's first words."""
        name = " ".join(self.text.split()[:4])[:40]
        return [Field("name", "name", "str", name, default=name, check=needed), Field("go", "Save", "button")]

    def preview(self) -> None:
        """The prompt, and the file it goes to."""
        file = self.app.home.prompts
        self.say(Content.assemble(self.text, (f"\n\nin {file}, which you can edit; a prompt of this name is replaced", "$muted")))

    def do_accept(self) -> None:
        self.dismiss(str(self.value("name")).strip())


class KeepingActions(Working):
    """Mixed into the playground: take and save prompts, save test cases."""

    if TYPE_CHECKING:
        model: str
        conversation: Conversation
        answers: dict[str, Answer]
        asked: Manner
        message: MessageLine
        roster: Roster
        is_attached: bool

    def prompt_to_keep(self) -> str:
        """The message that is being written, else the last prompt; empty where there is neither."""
        last = self.conversation.last
        return self.message.text.strip() or (last.prompt if last else "")

    def why_not_keep(self, name: str) -> str:
        """Why nothing can be kept."""
        if name == "keep" and self.is_attached and not self.prompt_to_keep():
            return "write a prompt first"
        return "there is no answer yet" if name == "case" and not self.answers else ""

    def do_prompts(self) -> None:
        """Choose a saved prompt."""
        from .. import backend

        home = self.app.home
        self.work(lambda: backend.read_prompts(home), self._choose_prompt)

    def _choose_prompt(self, prompts: list[Prompt]) -> None:
        if not prompts:
            self.app.notify(f"no prompt is saved yet: P saves one, or write {self.app.home.prompts}", severity="warning", markup=False)
            return
        texts = {prompt.name: prompt.text for prompt in prompts}

        def chosen(name: str | None) -> None:
            if name:
                self.message.put(texts[name])

        entries = [(name, name, " ".join(text.split())) for name, text in texts.items()]
        self.app.push_screen(PickDialog("Saved prompts", entries), chosen)

    def do_keep(self) -> None:
        """Save a prompt."""
        from .. import backend

        home, text = self.app.home, self.prompt_to_keep()

        def named(name: str | None) -> None:
            if name:
                said = f"saved '{name}' in {home.prompts}"
                self.work(lambda: backend.save_prompt(home, name, text), lambda _: self.app.notify(said, markup=False))

        self.app.push_screen(SavePromptDialog(text), named)

    def do_case(self) -> None:
        """Save an answer as a test case; of several the user chooses one."""
        if len(self.answers) == 1:
            self._keep_case(next(iter(self.answers)))
            return
        entries = [(voice or "base", self.roster.called(voice), " ".join(answer.text.split())) for voice, answer in self.answers.items()]

        def chosen(voice: str | None) -> None:
            if voice:
                self._keep_case("" if voice == "base" else voice)

        self.app.push_screen(PickDialog("Which answer is right?", entries), chosen)

    def _keep_case(self, voice: str) -> None:
        from .. import backend

        answer, home = self.answers[voice], self.app.home
        about: dict[str, Any] = {
            "model": self.model, "adapter": answer.adapter if voice != BLEND else None, "blend": answer.blend,
            "sampling": self.asked.sampling(),
        }  # fmt: skip
        messages = self.conversation.messages(voice, self.asked.system)
        self.work(lambda: backend.save_case(home, messages, about), self._kept)

    def _kept(self, file: Path) -> None:
        self.app.notify(f"saved in {file}: `finetui data check` and `eval` read it", markup=False)
