"""A conversation with a base model and its adapters: who has said what, and the work with the worker. No widgets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from textual.message import Message

from ..core.options import option, to_dict
from ..core.paths import Home
from ..core.sampling import Sampling

if TYPE_CHECKING:
    from ..core.inference import Answer, LoadedAdapter, Playground

PIECE_SECONDS = 0.08
"""Pieces of an answer are posted at most this often."""

BLEND = "blend"
"""The voice of several adapters at once; other voices are an adapter's path, or empty for the base."""


@dataclass(frozen=True)
class Manner(Sampling):
    """How answers are written; shown as a form."""

    system: str = option("", "System message before the conversation.")

    def sampling(self) -> dict[str, Any]:
        """What the worker is told: values that differ from the defaults, the system message left out."""
        return {name: value for name, value in to_dict(self, changed_only=True).items() if name != "system"}


class Piece(Message):
    """An answer so far (``answer`` is ``None``), or whole."""

    def __init__(self, target: str, text: str, answer: Answer | None = None) -> None:
        super().__init__()
        self.target, self.text, self.answer = target, text, answer


@dataclass
class Exchange:
    """A prompt and what each voice answered, in the order they did."""

    prompt: str
    answers: dict[str, str] = field(default_factory=dict)


@dataclass
class Conversation:
    """Who has said what. Every voice hears everything; of several answers to a prompt its own, else the last one."""

    exchanges: list[Exchange] = field(default_factory=list)

    def ask(self, prompt: str) -> None:
        """A new prompt."""
        self.exchanges.append(Exchange(prompt))

    def answered(self, voice: str, text: str) -> None:
        """Remember an answer to the last prompt."""
        self.exchanges[-1].answers[voice] = text

    def withdraw(self) -> str:
        """Forget the last prompt and its answers; returns the prompt."""
        return self.exchanges.pop().prompt

    @property
    def last(self) -> Exchange | None:
        """The last prompt and its answers."""
        return self.exchanges[-1] if self.exchanges else None

    def messages(self, voice: str, system: str) -> list[dict[str, str]]:
        """The conversation as ``voice`` knows it, up to the last prompt, or the voice's own answer to it."""
        said = [{"role": "system", "content": system}] if system else []
        for exchange in self.exchanges:
            said.append({"role": "user", "content": exchange.prompt})
            others = list(exchange.answers.values()) if exchange is not self.last else []
            text = exchange.answers.get(voice, others[-1] if others else None)
            if text is not None:
                said.append({"role": "assistant", "content": text})
        return said

    def clear(self) -> None:
        """Forget everything."""
        self.exchanges.clear()


class Voices:
    """The playground with names by path; every method blocks and is called in threads."""

    def __init__(self, home: Home, model: str, gpus: str, *, share_gpu: bool = False) -> None:
        self._home, self._model, self._gpus, self._share_gpu = home, model, gpus, share_gpu
        self._playground: Playground | None = None
        self._lock = threading.Lock()
        self._talking = threading.Lock()
        """Held while the worker is asked: it has one pipe, and two threads must not load the same adapter."""
        self._stop = threading.Event()
        self._closed = False

    def open(self) -> dict[str, Any]:
        """Load the base; returns ``{model, device, seconds, …}``."""
        from ..core.inference import Playground

        playground = Playground(
            self._home, self._model, gpus=self._gpus, share_gpu=self._share_gpu, log=self._home.root / "chat.log"
        )  # fmt: skip
        with self._lock:
            if self._closed:
                playground.close()
            else:
                self._playground = playground
        return {**playground.status, "model": playground.model.name}

    @property
    def ready(self) -> bool:
        """Whether the base is loaded."""
        return self._playground is not None

    @property
    def alive(self) -> bool:
        """Whether the worker still runs; an answer may fail without it."""
        playground = self._playground
        return playground is not None and playground.session.alive

    @property
    def resident(self) -> dict[str, LoadedAdapter]:
        """The adapters in memory, by path."""
        return {loaded.path: loaded for loaded in self._playground.adapters} if self._playground is not None else {}

    def load(self, path: str) -> LoadedAdapter:
        """Load an adapter beside the base, after what the worker is doing now."""
        with self._talking:
            return self._opened().add(path)

    def unload(self, path: str) -> None:
        """Drop an adapter from memory."""
        with self._talking:
            self._opened().remove(self.resident[path].name)

    def answer(
        self,
        messages: Mapping[str, Sequence[Mapping[str, str]]],
        weights: Mapping[str, float],
        sampling: Mapping[str, Any],
        post: Callable[[Message], object],
    ) -> None:
        """Let voices answer, one after the other, posting `Piece` messages; `cancel` ends it.

        Args:
            messages: what each voice has heard.
            weights: of the blend, by path.
        """
        self._stop.clear()
        with self._talking:
            playground = self._opened()
            for voice, heard in messages.items():
                who = self._who(playground, voice, weights)
                if self._stop.is_set():
                    return
                text, posted = "", 0.0
                for item in playground.stream(messages=heard, adapter=who, **sampling):
                    if not isinstance(item, str):
                        post(Piece(voice, item.text, item))
                        continue
                    text += item
                    if time.monotonic() - posted >= PIECE_SECONDS:
                        post(Piece(voice, text))
                        posted = time.monotonic()

    def _who(self, playground: Playground, voice: str, weights: Mapping[str, float]) -> str | dict[str, float] | None:
        """A voice as the playground names it, loaded where it is not."""
        if voice == BLEND:
            return {playground.add(path).name: weight for path, weight in weights.items()}
        return playground.add(voice).name if voice else None

    def _opened(self) -> Playground:
        assert self._playground is not None
        return self._playground

    def cancel(self) -> None:
        """End the answer under way, and those that were to follow."""
        self._stop.set()
        if self._playground is not None:
            self._playground.cancel()

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._closed = True
            if self._playground is not None:
                self._playground.close()
                self._playground = None
