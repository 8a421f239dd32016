"""``finetui data check``: everything that is wrong with data files at once, and what they hold."""

from __future__ import annotations

import re
from array import array
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

import msgspec

from ..api import Example, Task
from ..errors import DataError, DiskError
from .fingerprint import fingerprint
from .repeats import Repeat, Repeats
from .shaping import choose_objective, shape_file

MAX_LISTED = 200
"""Problems listed in a report; further ones are only counted."""

_PLACE = re.compile(r"(?::(?P<line>\d+)|: row (?P<row>\d+))?: (?P<what>.*)", re.DOTALL)


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is wrong.

    Attributes:
        source: ``file:line``, ``file: row n``, or the file where it is about the whole.
        line: of the file; ``None`` where there are no lines (Parquet) or it is about the whole.
    """

    source: str
    line: int | None
    message: str
    hint: str = ""


class DataReport(msgspec.Struct, frozen=True, kw_only=True):
    """What data files hold; its to-builtins form is the JSON of ``data check``.

    Attributes:
        format: as in `Dataset`; empty where no shape was recognised.
        objective: the one that training would choose; empty where it could not.
        rows: rows read as examples, over all files.
        columns: names in the files, in order of appearance.
        problems: the first `MAX_LISTED` of ``problem_count``.
        digest: see `fingerprint`.
        characters: of examples (contents of all turns, or the text): ``{"min", "median", "max"}``; zeros without examples.
        duplicates: examples that were there before; the first `MAX_LISTED` of them in ``duplicate_rows``.
        conflicts: examples whose prompt was there before with another answer, or whose text with another label; the first
            `MAX_LISTED` of them in ``conflicting_rows``.
        labels: of ``seq-cls``: how many rows each class has.
        empty_answers: conversations with a blank answer; allowed, though seldom meant.
        blank_rows: blank rows of running text, which training leaves out.
    """

    files: list[str]
    format: str
    objective: str
    rows: int
    columns: list[str]
    problems: list[Problem]
    problem_count: int
    digest: str
    size_bytes: int
    characters: dict[str, float]
    duplicates: int
    duplicate_rows: list[Repeat]
    conflicts: int
    conflicting_rows: list[Repeat]
    empty_answers: int
    blank_rows: int
    labels: dict[str, int]


@dataclass
class _Tally:
    """What is gathered while reading."""

    formats: list[str] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0
    characters: array[int] = field(default_factory=lambda: array("q"))
    repeats: Repeats = field(default_factory=Repeats)
    labels: Counter[str] = field(default_factory=Counter)
    empty_answers: int = 0
    blank_rows: int = 0
    kinds: dict[bool, Example] = field(default_factory=dict)
    """The first example of running text (true) and of conversations (false)."""

    def add_problem(self, path: str, error: DataError) -> None:
        self.problem_count += 1
        if len(self.problems) < MAX_LISTED:
            self.problems.append(_problem(path, error))

    def add(self, example: Example, path: str) -> None:
        self.kinds.setdefault(bool(example.text), example)
        self.characters.append(len(example.text) + sum(len(turn.content) for turn in example.turns))
        self.empty_answers += any(turn.role == "assistant" and not turn.content.strip() and not turn.calls for turn in example.turns)
        self.repeats.add(example, path)
        if example.label is not None:
            self.labels[example.label] += 1


def check(paths: Sequence[str | Path], columns: Mapping[str, str] | None = None, task: Task = "causal-lm") -> DataReport:
    """Read data files to the end and report what they hold and everything that is wrong.

    Args:
        task: what the rows are for, see `core.data.shaping.examples`.

    Raises:
        NotFound: a file does not exist.
        DiskError: a file cannot be read.
    """
    tally = _Tally()
    digest = fingerprint(paths)
    for path in map(str, paths):
        try:
            _check_file(path, columns, task, tally)
        except DataError as problem:
            tally.add_problem(path, problem)
    objective = ""
    if tally.kinds:
        try:
            objective = choose_objective(list(tally.kinds.values())).name
        except DataError as problem:
            tally.add_problem("", problem)
    lengths = tally.characters or [0]
    duplicates, conflicts = list(tally.repeats.duplicates()), list(tally.repeats.conflicts())
    return DataReport(
        files=[str(path) for path in paths],
        format="+".join(dict.fromkeys(tally.formats)),
        objective=objective,
        rows=len(tally.characters),
        columns=list(dict.fromkeys(tally.columns)),
        problems=tally.problems,
        problem_count=tally.problem_count,
        digest=digest,
        size_bytes=_size(paths),
        characters={"min": min(lengths), "median": median(lengths), "max": max(lengths)},
        duplicates=len(duplicates),
        duplicate_rows=duplicates[:MAX_LISTED],
        conflicts=len(conflicts),
        conflicting_rows=conflicts[:MAX_LISTED],
        empty_answers=tally.empty_answers,
        blank_rows=tally.blank_rows,
        labels=dict(tally.labels.most_common()),
    )


def _check_file(path: str, columns: Mapping[str, str] | None, task: Task, tally: _Tally) -> None:
    shaped = shape_file(path, columns, task)
    tally.formats.append(shaped.format.name)
    tally.columns += shaped.columns
    found = 0
    for entry in shaped.entries:
        if isinstance(entry, DataError):
            tally.add_problem(path, entry)
        elif entry is None:
            tally.blank_rows += 1
        else:
            tally.add(entry, path)
            found += 1
    if not found and not tally.problem_count:
        tally.add_problem(path, DataError(f"{path}: every row is blank"))


def _problem(path: str, error: DataError) -> Problem:
    """Part an error's message into its place and what is wrong."""
    match = _PLACE.fullmatch(error.message.removeprefix(path)) if path and error.message.startswith(path) else None
    if match is None:
        return Problem(source=path or "all files", line=None, message=error.message, hint=error.hint)
    line, row = match["line"], match["row"]
    source = f"{path}:{line}" if line else f"{path}: row {row}" if row else path
    return Problem(source=source, line=int(line) if line else None, message=match["what"], hint=error.hint)


def _size(paths: Sequence[str | Path]) -> int:
    try:
        return sum(Path(path).stat().st_size for path in paths)
    except OSError as problem:
        raise DiskError(f"{problem.filename}: {problem.strerror}", "check that the file can be read") from problem
