"""Trying models out: a base with adapters to swap between, names resolved, in a worker. No torch here.

``finetui generate``, ``finetui chat`` and the chat screen are all made of a `Playground`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import msgspec

from .api import Task
from .blends import blend_text
from .catalog.catalog import Catalog
from .catalog.classes import task_of
from .catalog.digest import weight_files
from .catalog.entries import AdapterEntry, ModelEntry
from .errors import CorruptFile, Incompatible, NotFound, closest
from .paths import Home
from .planner.loaded import loaded_bytes
from .planner.reading import read_model
from .planner.tasks import choose_task
from .session import WorkerSession


class LoadedAdapter(msgspec.Struct, frozen=True):
    """An adapter that is ready to swap to.

    Attributes:
        name: in the playground (and the engine), for people.
        path: its folder.
        kind: PEFT type in lower case, or ``full``.
        bytes: memory it takes beside the base.
        seconds: it took to load.
        no_blend: why it cannot be part of a blend; empty when it can.
    """

    name: str
    path: str
    kind: str
    bytes: int
    seconds: float
    no_blend: str = ""


class Generation(msgspec.Struct, frozen=True, kw_only=True):
    """What was generated, as the worker tells it.

    Attributes:
        text: special tokens left out.
        tokens: generated, the end token included.
        prompt_tokens: read before that.
        seconds: from the request to the last token, the swap left out.
        first_token_seconds: to the first.
        swap_seconds: to make the adapter active.
        finish: ``end`` (the model ended its turn), ``length`` or ``cancelled``.
        label: what a classifier takes the prompt for, which is its ``text`` too; none where text was written.
        score: the label's probability.
        scores: every label's, the most probable first.
    """

    text: str
    tokens: int
    prompt_tokens: int
    seconds: float
    first_token_seconds: float
    swap_seconds: float
    finish: Literal["end", "length", "cancelled"]
    label: str | None = None
    score: float | None = None
    scores: dict[str, float] = {}


class Answer(Generation, frozen=True, kw_only=True):
    """What was generated and by whom; its builtins are a row of ``finetui generate --json``.

    Attributes:
        adapter: folder of the adapter, ``None`` for the base and for a blend.
        name: of the adapter, or of the base; a blend's in words.
        blend: weights of a blend by the adapters' folders.
    """

    adapter: str | None
    name: str
    blend: dict[str, float] = {}


class Playground:
    """A base model in a worker, and the adapters that are loaded beside it.

    Methods block; `cancel` and `close` may be called from another thread meanwhile.

    Args:
        model: folder, catalog name or Hub id.
        adapters: loaded at once, as `add` does.
        gpus: as ``--gpus``; one GPU is leased for as long as the worker lives.
        share_gpu: beside others that share it.
        what: it is for, in the words of those who find the GPU taken.
        log: file for what the worker has to say; none: kept only to explain its death.
        force: load adapters although another base's digest is recorded in them.

    Raises:
        NotFound: no such model or adapter.
        Incompatible: an adapter belongs to another base.
        DeviceBusy: no GPU can be had now.
        FineTUIError: the model cannot be loaded.
    """

    def __init__(
        self,
        home: Home,
        model: str,
        adapters: Sequence[str] = (),
        gpus: str = "auto",
        *,
        share_gpu: bool = False,
        what: str = "chat",
        log: Path | None = None,
        force: bool = False,
    ) -> None:
        self._catalog = Catalog(home)
        self._force = force
        self._loaded: dict[str, LoadedAdapter] = {}
        self._stamps: dict[str, list[tuple[Any, ...]]] = {}
        self.model: ModelEntry = self._catalog.model(model)
        entries = [self._resolve(adapter) for adapter in adapters]  # all of them before the worker starts
        self.task: Task = task_of(Path(entries[0].path)) if entries else choose_task(read_model(Path(self.model.path)))
        """What the base is loaded for: that of the first adapter, else what its kind allows."""
        for entry in entries:
            self._require_task(entry)
        self._place: dict[str, Any] = {"log": log, "gpus": gpus, "share_gpu": share_gpu, "what": what}
        self._start(entries)

    def _start(self, entries: Sequence[AdapterEntry]) -> None:
        memory = loaded_bytes([self.model.path, *(entry.path for entry in entries)])
        self._session = WorkerSession(memory=memory, **self._place)
        try:
            self.status: dict[str, Any] = self._session.call("load", model_path=self.model.path, task=self.task)
            """``{model, task, device, dtype, seconds, …}`` of the loaded base."""
            for entry in entries:
                self._load(entry)
        except BaseException:
            self._session.close()
            raise

    def restart(self) -> None:
        """A new worker with the base and the same adapters, whatever became of the one before.

        Raises:
            DeviceBusy, FineTUIError: as when the playground was made.
        """
        self._session.close()
        entries = [self._resolve(loaded.path) for loaded in self.adapters]
        self._loaded.clear()
        self._start(entries)

    @property
    def adapters(self) -> list[LoadedAdapter]:
        """The adapters that are loaded, in the order they were added."""
        return list(self._loaded.values())

    @property
    def session(self) -> WorkerSession:
        """The worker, for what else it can do (``preview``, ``lengths``)."""
        return self._session

    def add(self, adapter: str) -> LoadedAdapter:
        """Load one more adapter, named by folder, catalog name, digest prefix or run id.

        One that is loaded is left alone, unless its weights on the disk are others by now: then it is read again.

        Raises:
            NotFound: no such adapter.
            Incompatible: it belongs to another base.
        """
        return self._load(self._resolve(adapter))

    def remove(self, name: str) -> None:
        """Drop a loaded adapter from memory.

        Raises:
            NotFound: none of that name is loaded.
        """
        self._session.call("remove_adapter", name=self._find(name).name)
        del self._loaded[name]

    def swap(self, adapter: str | Mapping[str, float] | None) -> float:
        """Let an adapter, a blend or the base answer from now on; returns the seconds it took. Answers swap by themselves, too.

        Raises:
            NotFound, Incompatible: as `stream`.
        """
        self._whose(adapter)
        return self._session.call("activate", adapter=adapter)["swap_seconds"]

    def stream(
        self,
        prompt: str = "",
        *,
        messages: Sequence[Mapping[str, str]] | None = None,
        adapter: str | Mapping[str, float] | None = None,
        raw: bool = False,
        **sampling: Any,
    ) -> Iterator[str | Answer]:
        """Generate; yields pieces of text as they come and the `Answer` last. Closing the iterator early cancels.

        A classifier answers with the label of the prompt, or of a conversation's last message.

        Args:
            prompt: one user turn; with ``raw`` the text to continue as it is.
            messages: a conversation instead, ``{"role", "content"}`` each.
            adapter: name of a loaded one, or weights of several by name (a blend); none: the base.
            sampling: values of `core.sampling.Sampling` by name.

        Raises:
            NotFound: ``adapter`` is not loaded.
            Incompatible: an adapter of the blend cannot be weighed.
            UsageError: the prompt is empty or longer than the model's context, or a value of ``sampling`` is out of its range.
            WorkFailed: the worker died.
        """
        whose = self._whose(adapter)
        asked: dict[str, Any] = {"prompt": prompt} if messages is None else {"messages": list(messages)}
        for item in self._session.stream("generate", adapter=adapter, raw=raw, **asked, **sampling):
            if "result" in item:
                yield msgspec.convert({**item["result"], **whose}, Answer)
            else:
                yield item["text"]

    def generate(self, prompt: str = "", **arguments: Any) -> Answer:
        """Generate and wait for the whole answer; arguments as `stream`."""
        *_, answer = self.stream(prompt, **arguments)
        assert isinstance(answer, Answer)
        return answer

    def cancel(self) -> None:
        """End the generation under way; its answer has what there is so far."""
        self._session.cancel()

    def close(self) -> None:
        """End the worker."""
        self._session.close()

    def __enter__(self) -> Playground:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _resolve(self, adapter: str) -> AdapterEntry:
        entry = self._catalog.adapter(adapter)
        self._catalog.check_pair(self.model, entry, ignore_digest=self._force)
        return entry

    def _require_task(self, entry: AdapterEntry) -> None:
        """One loaded base has one kind of head."""
        task = task_of(Path(entry.path))
        if task != self.task:
            raise Incompatible(
                f"adapter '{entry.name}' {_DOES[task]}, but the base is loaded to be one that {_DOES[self.task]}",
                "use adapters of one task at a time: start again with those of the other",
            )

    def _load(self, entry: AdapterEntry) -> LoadedAdapter:
        self._require_task(entry)
        stamp = _stamp(entry.path)
        name = next((loaded.name for loaded in self._loaded.values() if loaded.path == entry.path), "")
        if name and self._stamps[name] == stamp:
            return self._loaded[name]
        if name:
            self.remove(name)
        name = name or (entry.path if entry.name in self._loaded else entry.name)  # two folders of one name
        loaded = msgspec.convert(self._session.call("add_adapter", name=name, path=entry.path), LoadedAdapter)
        self._loaded[name], self._stamps[name] = loaded, stamp
        return loaded

    def _whose(self, adapter: str | Mapping[str, float] | None) -> dict[str, Any]:
        """What an `Answer` says of who gave it; adapters that were trained anew are read again."""
        if adapter is None:
            return {"adapter": None, "name": self.model.name}
        if isinstance(adapter, str):
            return {"adapter": self._current(adapter).path, "name": adapter}
        return {"adapter": None, "name": blend_text(adapter), "blend": {self._current(name).path: adapter[name] for name in adapter}}

    def _current(self, name: str) -> LoadedAdapter:
        """The loaded adapter, read again where it was trained anew meanwhile; one whose files are gone stays as it is."""
        loaded = self._find(name)
        return loaded if _stamp(loaded.path) in ([], self._stamps[name]) else self._load(self._resolve(loaded.path))

    def _find(self, name: str) -> LoadedAdapter:
        if name not in self._loaded:
            raise NotFound(f"no adapter named '{name}' is loaded", closest(name, self._loaded, "adapter"))
        return self._loaded[name]


_DOES: dict[Task, str] = {"seq-cls": "classifies texts", "causal-lm": "writes text"}


def _stamp(folder: str) -> list[tuple[Any, ...]]:
    """What changes when the weights in a folder do, without reading them; empty when they are gone."""
    try:
        files = [(file.name, file.stat()) for file in weight_files(Path(folder))]
    except (OSError, CorruptFile):
        return []
    return [(name, status.st_ino, status.st_size, status.st_mtime_ns) for name, status in files]
