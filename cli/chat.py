"""``finetui generate`` and ``finetui chat``: one loaded base, adapters swapped on it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from ..core.blends import blend_text, parse_blend
from ..core.errors import FineTUIError, UsageError, closest
from ..core.inference import Playground
from ..core.options import parse, to_dict
from ..core.sampling import Sampling
from .command import App, command, share_gpu_option
from .flags import flags_of
from .output import narrate, size, table, write_json

_HELP = """\
/swap NAME        answer with this adapter from now on
/blend A=0.7 B=0.3  answer with several adapters at once, by their weights; again with other weights changes them
/base             answer with the base alone
/compare [TEXT]   the same prompt to the base, every adapter and the blend; without text the last prompt
/adapters         what is loaded, and how long swaps took
/reset            forget the conversation
/restart          load the model again after its worker has died; the conversation stays
/quit             leave (Ctrl-D too)"""


def _place(function: Any) -> Any:
    """The options of what is loaded, and where."""
    for decorate in (
        share_gpu_option,
        click.option("--gpus", default=None, help="auto, none, or indices or UUIDs."),
        click.option("--adapter", "adapters", multiple=True, help="An adapter; may be given several times."),
        click.option("--model", required=True, help="Base model."),
    ):
        function = decorate(function)
    return function


def _opened(app: App, what: str, model: str, adapters: tuple[str, ...], gpus: str | None, share_gpu: bool | None) -> Playground:
    return Playground(app.home, model, adapters, gpus or app.settings.gpus, share_gpu=app.shares(share_gpu), what=what, log=app.home.log)


def _sampling(given: Mapping[str, Any]) -> dict[str, Any]:
    """The flags that were given, checked before a model is loaded."""
    return to_dict(parse(Sampling, {name: value for name, value in given.items() if value is not None}), changed_only=True)


@command("generate", params=flags_of(Sampling))
@click.option("--prompt", required=True, help="What the user says.")
@click.option("--raw", is_flag=True, help="Continue the prompt as it is, without the chat template.")
@_place
def generate(
    app: App, model: str, adapters: tuple[str, ...], prompt: str, raw: bool, gpus: str | None, share_gpu: bool | None, **given: Any
) -> None:
    """Answer one prompt, with each adapter given (or with the base alone)."""
    rows, sampling = [], _sampling(given)
    with _opened(app, "generate", model, adapters, gpus, share_gpu) as playground:
        for name in [loaded.name for loaded in playground.adapters] or [None]:
            rows.append(playground.generate(prompt, adapter=name, raw=raw, **sampling))
            if not app.json:
                click.echo(f"{rows[-1].name}: {rows[-1].text}" if len(adapters) > 1 else rows[-1].text)
    if app.json:
        write_json(rows)


@command("chat", params=flags_of(Sampling))
@_place
def chat(app: App, model: str, adapters: tuple[str, ...], gpus: str | None, share_gpu: bool | None, **given: Any) -> None:
    """Talk to a model; /swap changes the adapter between two answers, /help lists the rest."""
    if app.json:
        raise UsageError("chat is a conversation and has no JSON form", "use finetui generate --json")
    sampling = _sampling(given)
    with _opened(app, "chat", model, adapters, gpus, share_gpu) as playground:
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
    """The turns so far and who answers; `take` handles one line."""

    def __init__(self, playground: Playground, sampling: Mapping[str, Any]) -> None:
        self.playground = playground
        self.sampling = sampling
        self.turns: list[dict[str, str]] = []
        self.adapter: str | dict[str, float] | None = playground.adapters[-1].name if playground.adapters else None
        self._swaps: dict[str, str] = {}

    @property
    def loaded(self) -> list[str]:
        """Names of the adapters in memory."""
        return [adapter.name for adapter in self.playground.adapters]

    def prompt(self) -> str:
        """What stands before the cursor: who answers."""
        return f"[{_called(self.adapter)}] > "

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
            hint = error.hint if self.playground.session.alive else "/restart loads the model again; the conversation stays"
            narrate(f"error: {error.message}" + (f"\nhint: {hint}" if hint else ""))
        return True

    def _command(self, word: str, rest: str) -> None:
        commands: dict[str, Callable[[str], object]] = {
            "/base": self._base, "/swap": self._swap, "/blend": self._blend, "/compare": self._compare, "/adapters": self._adapters,
            "/reset": lambda _: self.turns.clear(), "/restart": lambda _: self.playground.restart(), "/help": lambda _: narrate(_HELP),
        }  # fmt: skip
        if word not in commands:
            raise UsageError(f"unknown command {word}", closest(word, commands) or "/help lists them")
        commands[word](rest)

    def _base(self, _: str) -> None:
        self._swap_to(None)

    def _swap(self, name: str) -> None:
        if not name:
            raise UsageError("/swap needs a name", f"loaded: {', '.join(self.loaded) or 'none'}")
        self._swap_to(self._load(name))

    def _blend(self, text: str) -> None:
        self._swap_to({self._load(name): weight for name, weight in parse_blend(text).items()})

    def _swap_to(self, who: str | dict[str, float] | None) -> None:
        seconds = self.playground.swap(who)
        self.adapter = who
        self._note(_called(who), seconds)
        narrate(f"  {_called(who)}: swap {seconds * 1000:.3f} ms")

    def _load(self, name: str) -> str:
        """The name under which an adapter is in memory, which for a folder may be its last part; loaded where it is not."""
        known = [loaded for loaded in self.loaded if name in (loaded, Path(loaded).name)]
        return known[0] if len(known) == 1 else self.playground.add(name).name

    def _say(self, text: str) -> None:
        messages = [*self.turns, {"role": "user", "content": text}]
        for piece in self.playground.stream(messages=messages, adapter=self.adapter, **self.sampling):
            if isinstance(piece, str):
                click.echo(piece, nl=False)
            else:
                self.turns = [*messages, {"role": "assistant", "content": piece.text}]
                click.echo()
                narrate(f"  {piece.tokens} tokens in {piece.seconds:.2f} s, swap {piece.swap_seconds * 1000:.3f} ms")

    def _compare(self, text: str) -> None:
        prompts = [turn["content"] for turn in self.turns if turn["role"] == "user"]
        if not text and not prompts:
            raise UsageError("/compare needs a prompt", "/compare What is the capital of France?")
        blends = [self.adapter] if isinstance(self.adapter, dict) else []
        for who in (None, *self.loaded, *blends):
            answer = self.playground.generate(text or prompts[-1], adapter=who, **self.sampling)
            self._note(_called(who), answer.swap_seconds)
            click.echo(f"{_called(who)} ({answer.swap_seconds * 1000:.3f} ms): {answer.text}")

    def _adapters(self, _: str) -> None:
        rows = [
            {
                "name": one.name, "kind": one.kind, "bytes": size(one.bytes), "swap": self._swaps.get(one.name, ""),
                "active": one.name == self.adapter or (isinstance(self.adapter, dict) and one.name in self.adapter),
            }
            for one in self.playground.adapters
        ]  # fmt: skip
        columns = [("name", "adapter"), ("kind", "kind"), ("bytes", "memory>"), ("swap", "swap>"), ("active", "in use")]
        table(rows, columns, empty="no adapters are loaded: /swap NAME loads one")

    def _note(self, name: str, seconds: float) -> None:
        self._swaps[name] = f"{seconds * 1000:.3f} ms"


def _called(who: str | dict[str, float] | None) -> str:
    return blend_text(who) if isinstance(who, dict) else who or "base"
