"""From rows to examples: the shape is recognised file by file, the objective follows from the examples."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

from .. import registry
from ..api import DataFormat, Example, Objective, Task
from ..errors import DataError, closest
from .lines import Entry
from .reading import Row, scan

_LOOK_AHEAD = 64
"""Rows that a file's shape is recognised by."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """Examples of all files, in order; iterates and counts as they do.

    Attributes:
        format: names of the formats recognised, joined by ``+`` where files differ.
        objective: name of the objective plugin, chosen or following from the examples.
    """

    examples: list[Example]
    format: str
    objective: str

    def __len__(self) -> int:
        return len(self.examples)

    def __iter__(self) -> Iterator[Example]:
        return iter(self.examples)


@dataclass(frozen=True, slots=True)
class ShapedFile:
    """One file with its format recognised.

    Attributes:
        format: reads the file's rows.
        columns: names of the columns, in order, as they are in the file.
        entries: the examples, and a `DataError` for every row that is not one; blank text rows are ``None``.
    """

    format: DataFormat
    columns: list[str]
    entries: Iterator[Example | DataError | None]


def examples(
    paths: Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    objective: str = "",
    *,
    task: Task = "causal-lm",
    limit: int | None = None,
) -> Dataset:
    """Read data files into examples.

    Args:
        columns: ``{"prompt": "question"}`` reads the file's column ``question`` as ``prompt``.
        objective: name of an objective plugin; empty: ``text`` for running text, ``sft`` for conversations, ``classify`` for labels.
        task: that the rows are for: a text with a label is running text to a language model.
        limit: stop reading after so many examples.

    Raises:
        NotFound: a file or the objective does not exist.
        DataError: a malformed row (file and line are named), an unknown shape, nothing to learn from.
    """
    streamed = stream(paths, columns, objective, task)
    found = list(islice(streamed, limit))
    return Dataset(found, "+".join(dict.fromkeys(streamed.formats)), streamed.objective.name)


class ExampleStream:
    """Examples of all files, in order, read one at a time; iterates once.

    Attributes:
        objective: chosen, or following from the first example.
        formats: names of the formats recognised so far, file by file.
    """

    def __init__(self, found: Iterator[Example], objective: Objective, formats: list[str]) -> None:
        self._found, self.objective, self.formats = found, objective, formats

    def __iter__(self) -> Iterator[Example]:
        return self._found


def stream(
    paths: Sequence[str | Path], columns: Mapping[str, str] | None = None, objective: str = "", task: Task = "causal-lm"
) -> ExampleStream:
    """Read data files into examples one by one; arguments and errors as `examples` has them, errors raised at the row they are about."""
    formats: list[str] = []
    found = _all(paths, columns, task, formats)
    first = next(found, None)
    if first is None:
        raise DataError(f"{', '.join(map(str, paths))}: no examples", "give at least one file with at least one row that is not blank")
    chosen = choose_objective([first], objective)
    return ExampleStream(_learnable(chain([first], found), first, chosen, objective), chosen, formats)


def _all(paths: Sequence[str | Path], columns: Mapping[str, str] | None, task: Task, formats: list[str]) -> Iterator[Example]:
    for path in paths:
        shaped = shape_file(path, columns, task)
        formats.append(shaped.format.name)
        yield from _good(shaped.entries)


def _learnable(found: Iterator[Example], first: Example, chosen: Objective, name: str) -> Iterator[Example]:
    """The examples; the first one that the objective cannot learn from, or that contradicts the choice of it, is an error."""
    for example in found:
        if bool(example.text) != bool(first.text) or not chosen.accepts(example):
            choose_objective([first, example], name)
        yield example


def _good(entries: Iterator[Example | DataError | None]) -> Iterator[Example]:
    """The examples of a file; the first `DataError` among them is raised."""
    for entry in entries:
        if isinstance(entry, DataError):
            raise entry
        if entry is not None:
            yield entry


def shape_file(path: str | Path, columns: Mapping[str, str] | None = None, task: Task = "causal-lm") -> ShapedFile:
    """Recognise the shape of one file by its first rows.

    Raises:
        DataError: no row could be read, a column of ``columns`` is not there, or no format fits.
    """
    entries = scan(path)
    ahead = list(islice(entries, _LOOK_AHEAD))
    readable = [entry for entry in ahead if not isinstance(entry, DataError)]
    if not readable:
        raise next(entry for entry in ahead if isinstance(entry, DataError))
    names = list(dict.fromkeys(name for row, _ in readable for name in row))
    _require_columns(path, names, columns or {})
    sample = [_rename(row, columns or {}) for row, _ in readable]
    try:
        shape = recognise(sample, columns, task)
    except DataError as problem:
        raise DataError(f"{readable[0][1]}: {problem.message}", problem.hint) from problem
    return ShapedFile(shape, names, _examples(chain(ahead, entries), shape, columns or {}))


def recognise(rows: Sequence[Mapping[str, Any]], columns: Mapping[str, str] | None = None, task: Task = "causal-lm") -> DataFormat:
    """The format of ``task`` that matches most of ``rows``, which have ``columns`` renamed already; of equals the one of higher priority.

    Raises:
        DataError: none matches any row; the message lists the columns.
    """
    formats = [shape for shape in registry.load_all("formats").values() if shape.task == task]
    asked = set(columns or {})
    votes = {shape: sum(map(shape.matches, rows)) for shape in formats if asked <= set(shape.columns) or not shape.columns}
    best = max(votes, key=lambda shape: (votes[shape], shape.priority), default=None)
    if best is not None and votes[best]:
        return best
    names = list(dict.fromkeys(name for row in rows for name in row))
    known = list(dict.fromkeys(name for shape in formats for name in shape.columns))
    wrong = next((name for name in asked if name not in known), "")
    if wrong:
        raise DataError(f"no format has a column '{wrong}'", closest(wrong, known))
    raise DataError(f"the shape of the data is not known; its columns: {', '.join(names) or 'none'}", _naming_hint(names, task))


def _naming_hint(names: Sequence[str], task: Task) -> str:
    if task == "seq-cls":
        return f"rows need a text and a label: say which is which, for example --columns text={names[0] if names else 'review'},label=stars"
    return (
        f"say which is which, for example --columns prompt={names[0]},response={names[-1]}"
        if len(names) > 1
        else "rows need prompt and response, instruction and output, messages, conversations, or text"
    )


def choose_objective(found: Sequence[Example], name: str = "") -> Objective:
    """The objective plugin ``name``, or the one that follows from the examples, checked against every one of them.

    Raises:
        NotFound: no such objective.
        DataError: it cannot learn from an example, or running text and conversations are mixed and none was named.
    """
    running = next((example for example in found if example.text and example.label is None), None)
    talking = next((example for example in found if example.turns), None)
    if not name and running and talking:
        raise DataError(
            f"running text ({running.source}) and conversations ({talking.source}) are mixed",
            "train on one kind at a time, or choose the objective 'text' to learn every token of both",
        )
    labelled = any(example.label is not None for example in found)
    objective: Objective = registry.load("objectives", name or ("classify" if labelled else "text" if running else "sft"))
    for example in found:
        if not objective.accepts(example):
            kind = "labels" if example.label is not None else "running text" if example.text else "conversations"
            raise DataError(f"{example.source}: the objective '{objective.name}' does not learn from {kind}", "choose another objective")
    return objective


def _require_columns(path: str | Path, names: Sequence[str], columns: Mapping[str, str]) -> None:
    for name in columns.values():
        if name not in names:
            raise DataError(f"{path}: no column '{name}'; the columns are {', '.join(names)}", closest(name, names))


def _rename(row: Row, columns: Mapping[str, str]) -> Row:
    """``row`` with every mapped column under its new name only; a column that had the new name before gives way."""
    if not columns:
        return row
    renamed = {name: value for name, value in row.items() if name not in columns.values() and name not in columns}
    return renamed | {new: row[old] for new, old in columns.items() if old in row}


def _examples(entries: Iterator[Entry], shape: DataFormat, columns: Mapping[str, str]) -> Iterator[Example | DataError | None]:
    for entry in entries:
        if isinstance(entry, DataError):
            yield entry
            continue
        row, source = entry
        try:
            example = shape.read(_rename(row, columns), source)
        except DataError as problem:
            yield problem
            continue
        yield example if example.turns or example.text else None
