"""Rows that were there before, and rows that answer the same question differently."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator

import msgspec

from ..api import Example


class Repeat(msgspec.Struct, frozen=True, kw_only=True):
    """A row and the earlier one it repeats.

    Attributes:
        source: ``file:line`` or ``file: row n`` of the row; ``line`` as in `Problem`.
        first: the same of the earlier row.
    """

    source: str
    line: int | None
    first: str
    first_line: int | None


class Repeats:
    """Compares every row with all before it, by hashes of 64 bits: about 40 bytes a row, whatever its length."""

    def __init__(self) -> None:
        self._rows, self._prompts, self._answers = array("q"), array("q"), array("q")
        self._files: list[str] = []
        self._file, self._number = array("i"), array("q")

    def add(self, example: Example, path: str) -> None:
        """Take up a row of the file ``path``."""
        if not self._files or self._files[-1] != path:
            self._files.append(path)
        prompt, answer = _parted(example)
        self._rows.append(hash((example.turns, example.tools, example.text, example.label)))
        self._prompts.append(hash(prompt))
        self._answers.append(hash(answer))
        self._file.append(len(self._files) - 1)
        place = example.source.removeprefix(path)
        number = int("".join(filter(str.isdigit, place)) or 0)
        self._number.append(-number if place.startswith(": row ") else number)

    def duplicates(self) -> Iterator[Repeat]:
        """Rows that are the same as an earlier one, in order."""
        return self._against(self._first_of(self._rows), lambda number, first: number != first)

    def conflicts(self) -> Iterator[Repeat]:
        """Rows whose prompt (or text to classify) was there before with another answer (or label), in order."""
        answers = self._answers
        return self._against(self._first_of(self._prompts), lambda number, first: answers[number] != answers[first])

    def _first_of(self, hashes: array[int]) -> array[int]:
        """For every row, the first one with the same hash."""
        first = array("q", range(len(hashes)))
        order = sorted(range(len(hashes)), key=hashes.__getitem__)
        for before, number in zip(order, order[1:]):
            if hashes[before] == hashes[number]:
                first[number] = first[before]
        return first

    def _against(self, firsts: array[int], counts: Callable[[int, int], bool]) -> Iterator[Repeat]:
        for number, first in enumerate(firsts):
            if counts(number, first):
                (source, line), (earlier, earlier_line) = self._place(number), self._place(first)
                yield Repeat(source=source, line=line, first=earlier, first_line=earlier_line)

    def _place(self, number: int) -> tuple[str, int | None]:
        path, place = self._files[self._file[number]], self._number[number]
        return (f"{path}:{place}", place) if place > 0 else (f"{path}: row {-place}", None)


def _parted(example: Example) -> tuple[object, object]:
    """What an example asks, and what it answers; running text asks itself."""
    last = max((number for number, turn in enumerate(example.turns) if turn.role == "assistant"), default=0)
    if not example.turns:
        return example.text, example.label
    return (example.turns[:last], example.tools), example.turns[last:]
