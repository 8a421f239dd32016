"""A conversation with a base model and its adapters: who has heard what, and the work with the worker. No widgets."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from textual.message import Message

from ..core.options import option
from ..core.paths import Home

if TYPE_CHECKING:
    from ..core.inference import Answer, Playground

PIECE_SECONDS = 0.08
"""Pieces of an answer are posted at most this often."""


@dataclass(frozen=True)
class Sampling:
    """How answers are written; shown as a form."""

    max_new_tokens: int = option(128, "Longest answer.", minimum=1, maximum=8192, unit="tokens")
    temperature: float = option(0.0, "0 takes the most probable token every time; higher is more varied.", minimum=0.0, maximum=5.0)
    top_p: float = option(1.0, "Only the most probable tokens that together have this share.", minimum=0.0, maximum=1.0)
    seed: int = option(0, "Of the random choices.", minimum=0)
    system: str = option("", "System message before the conversation.")


class Piece(Message):
    """An answer so far (``answer`` is ``None``), or whole."""

    def __init__(self, target: str, text: str, answer: Answer | None = None) -> None:
        super().__init__()
        self.target, self.text, self.answer = target, text, answer


@dataclass
class Conversation:
    """Who has said what. A voice is the path of an adapter, or empty for the base.

    A voice that joins later is told what the last speaker was told.
    """

    histories: dict[str, list[dict[str, str]]] = field(default_factory=dict)
    last: str = ""

    def ask(self, voice: str, prompt: str, system: str) -> list[dict[str, str]]:
        """The messages to answer: the voice's history and the new prompt."""
        known = self.histories.get(voice)
        if known is None:
            known = list(self.histories.get(self.last, []))
        self.histories[voice] = [*known, {"role": "user", "content": prompt}]
        return [*([{"role": "system", "content": system}] if system else []), *self.histories[voice]]

    def answered(self, voice: str, text: str) -> None:
        """Remember an answer."""
        self.histories.setdefault(voice, []).append({"role": "assistant", "content": text})
        self.last = voice

    def unanswered(self, voice: str) -> None:
        """Forget a question that got no answer."""
        known = self.histories.get(voice, [])
        if known and known[-1]["role"] == "user":
            known.pop()

    def clear(self) -> None:
        """Forget everything."""
        self.histories.clear()
        self.last = ""


class Voices:
    """The playground with names by path; every method blocks and is called in threads."""

    def __init__(self, home: Home, model: str, gpus: str, *, share_gpu: bool = False) -> None:
        self._home, self._model, self._gpus, self._share_gpu = home, model, gpus, share_gpu
        self._playground: Playground | None = None
        self._lock = threading.Lock()
        self._talking = threading.Lock()
        """Held while the worker is asked: it has one pipe, and two threads must not load the same adapter."""
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
        return {"model": playground.model.name, **playground.status}

    @property
    def ready(self) -> bool:
        """Whether the base is loaded."""
        return self._playground is not None

    @property
    def alive(self) -> bool:
        """Whether the worker still runs; an answer may fail without it."""
        playground = self._playground
        return playground is not None and playground.session.alive

    def load(self, path: str) -> float:
        """Load an adapter beside the base, after what the worker is doing now; returns the seconds it took."""
        playground = self._playground
        assert playground is not None
        with self._talking:
            return playground.add(path).seconds

    def answer(
        self, voices: Sequence[str], messages: dict[str, list[dict[str, str]]], sampling: Sampling, post: Callable[[Message], object]
    ) -> None:
        """Let each voice answer, one after the other, posting `Piece` messages."""
        playground = self._playground
        assert playground is not None
        how = {
            "max_new_tokens": sampling.max_new_tokens,
            "temperature": sampling.temperature,
            "top_p": sampling.top_p,
            "seed": sampling.seed,
        }
        with self._talking:
            for voice in voices:
                name = playground.add(voice).name if voice else None
                text, posted = "", 0.0
                for item in playground.stream(messages=messages[voice], adapter=name, **how):
                    if not isinstance(item, str):
                        post(Piece(voice, item.text, item))
                        continue
                    text += item
                    if time.monotonic() - posted >= PIECE_SECONDS:
                        post(Piece(voice, text))
                        posted = time.monotonic()

    def cancel(self) -> None:
        """End the answer under way."""
        if self._playground is not None:
            self._playground.cancel()

    def close(self) -> None:
        """End the worker."""
        with self._lock:
            self._closed = True
            if self._playground is not None:
                self._playground.close()
                self._playground = None


def voice_name(path: str, model: str) -> str:
    """How a voice is called on the screen; ``model`` is the base's name in the catalog."""
    return Path(path).name if path else f"{model} (base)"
