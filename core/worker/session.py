"""The worker behind `core.session.WorkerSession`: ``python -m finetui.core.worker.session``.

Reads requests from stdin and answers on stdout, one JSON line each (see `core.session`). A second thread reads, so that
a cancellation reaches a generation under way and the end of stdin ends the process whatever it is doing.
"""

from __future__ import annotations

import os
import queue
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from ..api import Task, Turn
from ..errors import FineTUIError, OutOfMemory, UsageError, WorkFailed
from ..options import parse
from ..runs.failure import describe_error
from ..sampling import Sampling

Emit = Callable[[dict[str, Any]], None]


class Request(msgspec.Struct):
    """One line from the client: either an operation or the cancellation of one."""

    id: int = 0
    op: str = ""
    arguments: dict[str, Any] = {}
    cancel: int = 0


class Channel:
    """The pipes to the client, out of reach of everything that prints: libraries' prints go to stderr, the log."""

    def __init__(self) -> None:
        sys.stdout.flush()
        self._out = os.fdopen(os.dup(1), "wb", buffering=0)
        os.dup2(2, 1)
        self._in = os.fdopen(os.dup(0), "rb")
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.close(nothing)
        self.requests: queue.SimpleQueue[Request] = queue.SimpleQueue()
        self.cancelled: set[int] = set()

    def listen(self) -> None:
        """Start the reading thread."""
        threading.Thread(target=self._read, name="requests", daemon=True).start()

    def send(self, message: dict[str, Any]) -> None:
        """Write one line."""
        self._out.write(msgspec.json.encode(message) + b"\n")

    def _read(self) -> None:
        for line in self._in:
            request = msgspec.json.decode(line, type=Request)
            if request.cancel:
                self.cancelled.add(request.cancel)
            else:
                self.requests.put(request)
        os._exit(0)  # the owner is gone; nothing here needs saving


class Operations:
    """What a session can do; each public method is an operation of `core.session`, its arguments by name.

    A method returns its result as a dict; ``emit`` sends chunks before it, ``stop`` tells whether the request was cancelled.
    """

    def __init__(self) -> None:
        self._engine: Any = None

    @property
    def engine(self) -> Any:
        """The engine, once `load` was called."""
        if self._engine is None:
            raise UsageError("no model is loaded in this session", "call load first")
        return self._engine

    def load(self, emit: Emit, stop: Callable[[], bool], *, model_path: str, task: Task = "causal-lm") -> dict[str, Any]:
        """Load a base for a task; the one loaded before, and its adapters, are dropped."""
        from .engine import Engine

        self._engine = None
        self._engine = Engine(Path(model_path), task=task)
        return self.engine.status()

    def add_adapter(self, emit: Emit, stop: Callable[[], bool], *, name: str, path: str) -> dict[str, Any]:
        """Make an adapter resident under ``name``."""
        return msgspec.to_builtins(self.engine.add(name, Path(path)))

    def remove_adapter(self, emit: Emit, stop: Callable[[], bool], *, name: str) -> dict[str, Any]:
        """Drop an adapter; where it was active, the base is."""
        self.engine.remove(name)
        return self.engine.status()

    def activate(self, emit: Emit, stop: Callable[[], bool], *, adapter: str | dict[str, float] | None = None) -> dict[str, Any]:
        """Swap to an adapter, a blend or the base."""
        return {"swap_seconds": self.engine.activate(adapter)}

    def status(self, emit: Emit, stop: Callable[[], bool]) -> dict[str, Any]:
        """What is loaded."""
        return self.engine.status() if self._engine else {"model": None, "adapters": [], "active": None}

    def generate(
        self,
        emit: Emit,
        stop: Callable[[], bool],
        *,
        prompt: str | None = None,
        messages: list[dict[str, str]] | None = None,
        adapter: str | dict[str, float] | None = None,
        raw: bool = False,
        **sampling: Any,
    ) -> dict[str, Any]:
        """Continue a prompt or a conversation with ``adapter`` (a name, a blend's weights, none: the base); chunks are ``{"text"}``.

        A classifier gives the label of the prompt, or of the conversation's last message.
        """
        from .classify import classify
        from .generate import generate, prompt_ids

        if (prompt is None) == (messages is None):
            raise UsageError("generate takes either a prompt or messages")
        options = parse(Sampling, sampling)
        if self.engine.task == "seq-cls":
            verdict = classify(self.engine, messages[-1]["content"] if messages else prompt or "", adapter)
            emit({"text": verdict.text})
            return msgspec.to_builtins(verdict)
        turns = [Turn(message["role"], message["content"]) for message in messages or [{"role": "user", "content": prompt or ""}]]
        ids = prompt_ids(self.engine.tokenizer, prompt if raw else None, turns)
        answer = generate(self.engine, ids, adapter, options, on_text=lambda text: emit({"text": text}), stop=stop)
        return msgspec.to_builtins(answer)

    def preview(self, emit: Emit, stop: Callable[[], bool], **arguments: Any) -> dict[str, Any]:
        """The first rows as training would see them (see `worker.preview`)."""
        from .preview import preview

        return {"rows": preview(**arguments)}

    def lengths(self, emit: Emit, stop: Callable[[], bool], **arguments: Any) -> dict[str, Any]:
        """Token lengths of data (see `worker.preview`)."""
        from .preview import lengths

        return lengths(**arguments)

    def probe(self, emit: Emit, stop: Callable[[], bool], **arguments: Any) -> dict[str, Any]:
        """Train one micro-batch for real and say what it takes (see `worker.probe`)."""
        from .probe import probe_folder

        return probe_folder(**arguments)


OPERATIONS = frozenset({"load", "add_adapter", "remove_adapter", "activate", "status", "generate", "preview", "lengths", "probe"})


def answer(operations: Operations, channel: Channel, request: Request) -> None:
    """Do one request and send its result or its error."""

    def emit(chunk: dict[str, Any]) -> None:
        channel.send({"id": request.id, "chunk": chunk})

    try:
        if request.op not in OPERATIONS:
            raise UsageError(f"a session has no operation '{request.op}'")
        operation = getattr(operations, request.op)
        result = operation(emit, lambda: request.id in channel.cancelled, **request.arguments)
        channel.send({"id": request.id, "result": result})
    except Exception as problem:
        known = describe_error(problem)
        if known is not problem:
            traceback.print_exc()
            known = _without_run(known)
        channel.send({"id": request.id, "error": known.to_dict()})
    channel.cancelled.discard(request.id)


def _without_run(known: FineTUIError) -> FineTUIError:
    """`describe_error` speaks of runs, their consoles and their options; here is a session."""
    if isinstance(known, OutOfMemory):
        return OutOfMemory(known.message, "remove adapters, shorten the conversation, or start again with --gpus none")
    return WorkFailed(known.message) if type(known) is WorkFailed else known


def main() -> None:
    """Answer requests until stdin closes."""
    channel = Channel()
    channel.listen()
    operations = Operations()
    while True:
        answer(operations, channel, channel.requests.get())


if __name__ == "__main__":
    main()
