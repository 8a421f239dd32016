"""Tokenised data on disk: written once in a stream, read entry by entry, so that memory does not grow with the data.

store.json      StoreFacts: counts, notes, size and checksum of the files below
tokens.bin      uint32, the ids of all entries end to end
learned.bin     uint8 for every token: whether it carries loss
offsets.bin     int64, where each entry starts in those two, and where the last one ends
examples.bin    int64, which example of the data (from 0) each entry comes from
classes.bin     int32, the class of each entry; -1 where tokens are learned
truncated.bin   int64, the examples that lost their end

Entries are read with ``pread`` rather than mapped: mapped pages count as the process's own memory until the kernel wants them
back, and a file that is cut short behind a mapping ends the process.
"""

from __future__ import annotations

import os
import zlib
from array import array
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, overload

import msgspec
import numpy

from ..api import CorruptFile, Encoded
from ..fsio import disk_errors, read_json, write_json
from .batches import IGNORED
from .encoding import EncodedExample

_TOKENS, _LEARNED, _OFFSETS, _EXAMPLES, _CLASSES, _TRUNCATED = (
    f"{name}.bin" for name in ("tokens", "learned", "offsets", "examples", "classes", "truncated")
)
_FACTS = "store.json"
_CHUNK = 1 << 22


class StoreFacts(msgspec.Struct, kw_only=True):
    """What a store holds.

    Attributes:
        examples: of the data, those included that nothing could be learned from.
        objective: name of the objective plugin.
        notes: what the renderer had to say about the data.
        files: name → (bytes, CRC-32).
    """

    examples: int
    objective: str
    notes: list[str]
    files: dict[str, tuple[int, int]]


class TokenStore:
    """A store that was written to the end.

    Attributes:
        facts: see `StoreFacts`.
        lengths: (entries,) tokens of each entry.
        examples: (entries,) the example that each entry comes from, ascending.
        truncated: the examples that lost their end, ascending.
    """

    def __init__(self, folder: Path) -> None:
        """Open the store in ``folder`` and compare its files with their checksums.

        Raises:
            FileNotFoundError: there is none.
            CorruptFile: a file is not what was written.
        """
        self.facts = read_json(folder / _FACTS, StoreFacts)
        for name, (size, checksum) in self.facts.files.items():
            if _checksum(folder / name) != (size, checksum):
                raise CorruptFile(f"{folder / name} is not what was written")
        self._offsets = numpy.fromfile(folder / _OFFSETS, numpy.int64)
        self.lengths = numpy.diff(self._offsets)
        self.examples = numpy.fromfile(folder / _EXAMPLES, numpy.int64)
        self._classes = numpy.fromfile(folder / _CLASSES, numpy.int32)
        self.truncated = numpy.fromfile(folder / _TRUNCATED, numpy.int64)
        self._tokens, self._learned = (folder / _TOKENS).open("rb"), (folder / _LEARNED).open("rb")

    def __len__(self) -> int:
        return len(self.lengths)

    def entry(self, number: int) -> Encoded:
        """One entry, as it was encoded; without its text."""
        start, length = int(self._offsets[number]), int(self.lengths[number])
        ids = numpy.frombuffer(os.pread(self._tokens.fileno(), 4 * length, 4 * start), numpy.uint32).astype(numpy.int64)
        learned = numpy.frombuffer(os.pread(self._learned.fileno(), length, start), numpy.uint8)
        of_class = int(self._classes[number])
        labels = numpy.where(learned, ids, IGNORED)
        return Encoded(ids.tolist(), labels.tolist(), label=None if of_class < 0 else of_class)

    def entries(self, chosen: Any) -> Entries:
        """The entries of some examples.

        Args:
            chosen: (examples,) booleans.
        """
        return Entries(self, numpy.flatnonzero(chosen[self.examples]))


class Entries(Sequence[Encoded]):
    """Some entries of a store, each read when it is asked for.

    Attributes:
        lengths: (entries,) tokens of each, without reading them.
    """

    def __init__(self, store: TokenStore, numbers: Any) -> None:
        self._store, self._numbers = store, numbers
        self.lengths = store.lengths[numbers]

    def __len__(self) -> int:
        return len(self._numbers)

    @overload
    def __getitem__(self, index: int) -> Encoded: ...
    @overload
    def __getitem__(self, index: slice) -> Entries: ...
    def __getitem__(self, index: int | slice) -> Encoded | Entries:
        if isinstance(index, slice):
            return Entries(self._store, self._numbers[index])
        return self._store.entry(int(self._numbers[index]))

    @property
    def examples(self) -> int:
        """How many examples they come from."""
        return len(numpy.unique(self._store.examples[self._numbers]))


def write_store(folder: Path, encoded: Iterable[EncodedExample], objective: str, notes: Iterable[str]) -> None:
    """Write what examples became into the (existing, empty) ``folder``.

    Args:
        notes: read after the last example.

    Raises:
        DiskError: the disk is full.
    """
    counted = 0
    with disk_errors(folder):
        files = {name: _Writer(folder / name) for name in (_TOKENS, _LEARNED, _OFFSETS, _EXAMPLES, _CLASSES, _TRUNCATED)}
        end = 0
        files[_OFFSETS].add(array("q", [0]))
        for number, each in enumerate(encoded):
            counted = number + 1
            if each.truncated:
                files[_TRUNCATED].add(array("q", [number]))
            for part in each.parts:
                end += len(part.input_ids)
                files[_TOKENS].add(array("I", part.input_ids))
                files[_LEARNED].add((numpy.asarray(part.labels) != IGNORED).tobytes())
                files[_OFFSETS].add(array("q", [end]))
                files[_EXAMPLES].add(array("q", [number]))
                files[_CLASSES].add(array("i", [-1 if part.label is None else part.label]))
        sums = {name: file.close() for name, file in files.items()}
    write_json(folder / _FACTS, StoreFacts(examples=counted, objective=objective, notes=list(notes), files=sums))


class _Writer:
    """A file that knows its checksum."""

    def __init__(self, path: Path) -> None:
        self._file: BinaryIO = path.open("wb", buffering=1 << 18)
        self._size = self._checksum = 0

    def add(self, data: array[int] | bytes) -> None:
        raw = data if isinstance(data, bytes) else data.tobytes()
        self._file.write(raw)
        self._size += len(raw)
        self._checksum = zlib.crc32(raw, self._checksum)

    def close(self) -> tuple[int, int]:
        """Returns bytes and checksum."""
        self._file.close()
        return self._size, self._checksum


def _checksum(path: Path) -> tuple[int, int]:
    """Size and CRC-32 of a file that may be absent."""
    size = checksum = 0
    try:
        with path.open("rb") as file:
            while block := file.read(_CHUNK):
                size += len(block)
                checksum = zlib.crc32(block, checksum)
    except FileNotFoundError:
        return -1, 0
    return size, checksum
