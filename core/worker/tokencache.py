"""The cache of tokenised data: one store for every combination of what decides which tokens data becomes."""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec

from .. import registry
from ..api import CorruptFile, DataError, NameTaken, Task
from ..config import Settings
from ..data.fingerprint import fingerprint
from ..data.reading import kind_of
from ..data.shaping import stream
from ..fsio import FileLock, disk_errors, is_locked, staged_folder
from .encoding import EncodedExample, EncodingOptions, encode_stream
from .rendering import ChatRenderer
from .tokenstore import TokenStore, write_store

_LAYOUT = 1
"""Raised whenever the same data would be tokenised or stored differently."""

_PACKAGES = ("finetui", "transformers", "tokenizers")
_ABANDONED_SECONDS = 86_400
_WAIT_SECONDS = 0.2

OnRows = Callable[[int], None]
"""Called now and then with the number of examples done; may raise to give up."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """Data as a request names it.

    Attributes:
        objective: empty: by the shape of the data.
    """

    files: Sequence[str]
    columns: Mapping[str, str]
    objective: str = ""
    task: Task = "causal-lm"


@dataclass(frozen=True, slots=True)
class Tokenised:
    """Data in a store.

    Attributes:
        reused: it was there already.
        damaged: it was there, but not as it had been written, and was made again.
    """

    store: TokenStore
    reused: bool
    damaged: bool = False


class TokenCache:
    """Stores under ``folder``, each named by its key; made and read by any number of processes at a time.

    Args:
        settings: ``data_cache_gb`` and ``data_cache_days`` say what is kept.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        self._folder, self._settings = folder, settings

    def tokenised(self, source: DataSource, renderer: ChatRenderer, options: EncodingOptions, on_rows: OnRows | None = None) -> Tokenised:
        """The store of ``source``: the one that is there, or a new one.

        Raises:
            DataError: a row is malformed or cannot be rendered (file and line are named), or a file changed while it was read.
            NotFound: a file does not exist.
            DiskError: the disk is full.
        """
        key = cache_key(source, renderer, options)
        target = self._folder / key
        with disk_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
        with self._turn(key, on_rows):
            store, damaged = self._found(target)
            if store is not None:
                return Tokenised(store, reused=True)
            before = _states(source.files)
            with contextlib.suppress(NameTaken), staged_folder(target) as folder:  # taken: another machine was faster
                _fill(folder, source, renderer, options, on_rows)
                if _states(source.files) != before:
                    raise DataError(f"{', '.join(source.files)}: changed while it was read", "start again when the data is written")
            store = TokenStore(target)
            self._evict(keep=target)
        return Tokenised(store, reused=False, damaged=damaged)

    @contextlib.contextmanager
    def _turn(self, key: str, on_rows: OnRows | None) -> Iterator[None]:
        """Of several runs that need the same store one makes it; the others wait."""
        lock = FileLock(self._folder / f"{key}.lock")
        while not lock.acquire():
            if on_rows is not None:
                on_rows(0)
            time.sleep(_WAIT_SECONDS)
        try:
            yield
        finally:
            lock.release()

    def _found(self, target: Path) -> tuple[TokenStore | None, bool]:
        """The store that is there, marked as used now; and whether one was there that is damaged."""
        try:
            store = TokenStore(target)
            os.utime(target)
        except FileNotFoundError:
            if target.exists():
                shutil.rmtree(target, ignore_errors=True)
            return None, False
        except CorruptFile:
            shutil.rmtree(target, ignore_errors=True)
            return None, True
        return store, False

    def _evict(self, keep: Path) -> None:
        """Remove what was not used for too long, then the least recently used until the rest is small enough, and remains of crashes.

        A run that reads a store keeps its files open, so they stay until it ends.
        """
        now = time.time()
        used = sorted((_last_use(path), path) for path in self._folder.iterdir() if path.is_dir())
        room = self._settings.data_cache_gb * 1e9 - _bytes(keep)
        for moment, path in reversed(used):
            if path == keep:
                continue
            if path.name.startswith("."):
                maker = self._folder / f"{path.name.split('.')[1]}.lock"  # held while it is made: the clock may have jumped
                outdated = now - _last_write(path) > _ABANDONED_SECONDS and not is_locked(maker)
            else:
                room -= _bytes(path)
                outdated = room < 0 or now - moment > 86_400 * self._settings.data_cache_days
            if outdated:
                shutil.rmtree(path, ignore_errors=True)
                (self._folder / f"{path.name}.lock").unlink(missing_ok=True)


def _fill(folder: Path, source: DataSource, renderer: ChatRenderer, options: EncodingOptions, on_rows: OnRows | None) -> None:
    examples = stream(source.files, source.columns, source.objective, source.task)
    encoded = encode_stream(examples, renderer, examples.objective, options)
    write_store(folder, _counted(encoded, on_rows), examples.objective.name, renderer.notes)


def _counted(encoded: Iterator[EncodedExample], on_rows: OnRows | None) -> Iterator[EncodedExample]:
    for number, each in enumerate(encoded, start=1):
        yield each
        if on_rows is not None and number % 256 == 0:
            on_rows(number)


def cache_key(source: DataSource, renderer: ChatRenderer, options: EncodingOptions) -> str:
    """A digest (32 hexadecimal digits) of everything that decides which tokens the data becomes."""
    parts = {
        "layout": _LAYOUT,
        "versions": [version(name) for name in _PACKAGES],
        "data": fingerprint(source.files),
        "kinds": [(kind_of(Path(path)), Path(path).suffix.lower() == ".tsv") for path in source.files],
        "columns": sorted(source.columns.items()),
        "objective": source.objective,
        "task": source.task,
        "plugins": [*registry.origins("formats"), *registry.origins("objectives")],
        "options": asdict(options),
        "tokenizer": tokenizer_digest(renderer.tokenizer),
    }
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()[:32]


def tokenizer_digest(tokenizer: Any) -> str:
    """SHA-256 of what a tokenizer makes of text: vocabulary and rules, special tokens, chat template, and today's date where that
    template writes it."""
    template = tokenizer.chat_template or ""
    today = datetime.date.today().isoformat() if "strftime_now" in str(template) else ""
    parts = [tokenizer.backend_tokenizer.to_str(), tokenizer.special_tokens_map, template, today]
    return hashlib.sha256(msgspec.json.encode(parts)).hexdigest()


def _states(files: Sequence[str]) -> list[tuple[int, int, int]]:
    found = [os.stat(path) for path in files]
    return [(each.st_ino, each.st_size, each.st_mtime_ns) for each in found]


def _last_use(store: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return store.stat().st_mtime
    return 0.0


def _bytes(folder: Path) -> int:
    """Of all files; those that another run removes meanwhile do not count."""
    with contextlib.suppress(FileNotFoundError):
        return sum(path.stat().st_size for path in folder.iterdir())
    return 0


def _last_write(folder: Path) -> float:
    with contextlib.suppress(FileNotFoundError):
        return max(path.stat().st_mtime for path in (folder, *folder.iterdir()))
    return 0.0
