"""``finetui generate`` and ``finetui chat``: one loaded base, adapters swapped on it."""

from __future__ import annotations

import sys
from typing import Any

import click

from ..core.errors import FineTUIError, UsageError
from ..core.inference import Playground
from .command import App, command, share_gpu_option
from .output import narrate, size, table, write_json

_HELP = """\
/swap NAME      answer with this adapter from now on
/base           answer with the base alone
/compare TEXT   the same prompt to the base and every adapter
/adapters       what is loaded
/reset          forget the conversation
/quit           leave (Ctrl-D too)"""


def _sampling(function: Any) -> Any:
    for decorate in (
        click.option("--max-new-tokens", type=click.IntRange(min=1), default=128, show_default=True, help="Longest answer."),
        click.option("--temperature", type=click.FloatRange(min=0), default=0.0, show_default=True, help="0 is greedy."),
        click.option("--top-p", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True, help="Nucleus sampling."),
        click.option("--seed", default=0, show_default=True, help="Of the sampling."),
        share_gpu_option,
        click.option("--gpus", default=None, help="auto, none, or indices or UUIDs."),
        click.option("--adapter", "adapters", multiple=True, help="An adapter; may be given several times."),
        click.option("--model", required=True, help="Base model."),
    ):
        function = decorate(function)
    return function


@command("generate")
@click.option("--prompt", required=True, help="What the user says.")
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without the chat template.")
@_sampling
def generate(
    app: App, model: str, adapters: tuple[str, ...], prompt: str, gpus: str | None, share_gpu: bool | None, **sampling: Any
) -> None:
    """Answer one prompt, with each adapter given (or with the base alone)."""
    rows = []
    place = {"gpus": gpus or app.settings.gpus, "share_gpu": app.shares(share_gpu), "what": "generate"}
    with Playground(app.home, model, adapters, log=app.home.log, **place) as playground:
        for name in [loaded.name for loaded in playground.adapters] or [None]:
            rows.append(playground.generate(prompt, adapter=name, **sampling))
            if not app.json:
                click.echo(f"{rows[-1].name}: {rows[-1].text}" if len(adapters) > 1 else rows[-1].text)
    if app.json:
        write_json(rows)


@command("chat")
@_sampling
def chat(app: App, model: str, adapters: tuple[str, ...], gpus: str | None, share_gpu: bool | None, **sampling: Any) -> None:
    """Talk to a model; /swap changes the adapter between two answers, /help lists the rest."""
    if app.json:
        raise UsageError("chat is a conversation and has no JSON form", "use finetui generate --json")
    place = {"gpus": gpus or app.settings.gpus, "share_gpu": app.shares(share_gpu), "what": "chat"}
    with Playground(app.home, model, adapters, log=app.home.log, **place) as playground:
        talk = Conversation(playground, sampling)
        narrate(f"{model}; /help lists what you can type")
        while (line := _read_line(talk.prompt())) is not None:
            if not talk.take(line.strip()):
                return


def _read_line(prompt: str) -> str | None:
    """One line from the user; ``None`` at the end of input."""
    try:
        if sys.stdin.isatty():
            return input(prompt)
        line = sys.stdin.readline()
        return line if line else None
    except EOFError:
        return None


class Conversation:
    """The turns so far and the adapter in use; `take` handles one line."""

    def __init__(self, playground: Playground, sampling: dict[str, Any]) -> None:
        self.playground = playground
        self.sampling = sampling
        self.turns: list[dict[str, str]] = []
        self.adapter: str | None = playground.adapters[-1].name if playground.adapters else None

    @property
    def loaded(self) -> list[str]:
        """Names of the adapters in memory."""
        return [adapter.name for adapter in self.playground.adapters]

    def prompt(self) -> str:
        """What stands before the cursor: which adapter answers."""
        return f"[{self.adapter or 'base'}] > "

    def take(self, line: str) -> bool:
        """Handle one line; false when the conversation ends."""
        word, _, rest = line.partition(" ")
        if not line:
            return True
        if word in ("/quit", "/exit"):
            return False
        try:
            if word.startswith("/"):
                self._command(word, rest.strip())
            else:
                self._say(line)
        except FineTUIError as error:
            narrate(f"error: {error.message}" + (f"\nhint: {error.hint}" if error.hint else ""))
        return True

    def _command(self, word: str, rest: str) -> None:
        if word == "/base":
            self.adapter = None
        elif word == "/swap":
            self.adapter = self._swap(rest)
        elif word == "/compare":
            self._compare(rest)
        elif word == "/adapters":
            rows = [{"name": one.name, "bytes": size(one.bytes), "active": one.name == self.adapter} for one in self.playground.adapters]
            table(
                rows,
                [("name", "adapter"), ("bytes", "memory>"), ("active", "in use")],
                empty="no adapters are loaded: /swap NAME loads one",
            )
        elif word == "/reset":
            self.turns.clear()
        elif word == "/help":
            narrate(_HELP)
        else:
            raise UsageError(f"unknown command {word}", "/help lists them")

    def _swap(self, name: str) -> str:
        if not name:
            raise UsageError("/swap needs a name", f"loaded: {', '.join(self.loaded) or 'none'}")
        return name if name in self.loaded else self.playground.add(name).name

    def _say(self, text: str) -> None:
        messages = [*self.turns, {"role": "user", "content": text}]
        for piece in self.playground.stream(messages=messages, adapter=self.adapter, **self.sampling):
            if isinstance(piece, str):
                click.echo(piece, nl=False)
            else:
                self.turns = [*messages, {"role": "assistant", "content": piece.text}]
                narrate(f"\n  {piece.tokens} tokens in {piece.seconds:.2f} s, swap {piece.swap_seconds * 1000:.3f} ms")

    def _compare(self, text: str) -> None:
        if not text:
            raise UsageError("/compare needs a prompt", "/compare What is the capital of France?")
        for name in (None, *self.loaded):
            answer = self.playground.generate(text, adapter=name, **self.sampling)
            click.echo(f"{name or 'base'} ({answer.swap_seconds * 1000:.3f} ms): {answer.text}")
