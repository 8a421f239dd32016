"""Rows of CSV and TSV files. Behind a malformed row reading goes on, so that everything that is wrong can be listed at once."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

from ..errors import DataError
from .lines import Entry, lines

_LONGEST_ROW = 10_000
"""Lines that a row may span; in a longer one a quote was never closed. Bounds the memory for a row and what is read twice behind it."""

Line = tuple[int, str | DataError]


def scan_csv(path: Path) -> Iterator[Entry]:
    """Rows of a CSV or TSV file; its first line names the columns.

    Raises:
        DataError: the header is malformed.
    """
    header: list[str] | None = None
    for start, cells in _records(path):
        if isinstance(cells, DataError):
            yield cells
        elif header is None:
            header = _header(path, start, cells)
        elif len(cells) != len(header):
            yield DataError(
                f"{path}:{start}: the row has {len(cells)} cells, the header {len(header)}",
                "quote cells that hold delimiters or line breaks",
            )
        else:
            yield dict(zip(header, cells)), f"{path}:{start}"


def _records(path: Path) -> Iterator[tuple[int, list[str] | DataError]]:
    """(line a record starts on, its cells or what is wrong with it); blank lines left out.

    Behind a malformed record reading goes on with its second line: most often the fault is in its first one, an open quote
    say, and the lines behind it are sound.
    """
    csv.field_size_limit(sys.maxsize)
    source = lines(path)
    _, first = next(source, (0, ""))
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t", key=str(first).count)
    waiting: Iterator[Line] = chain([(1, first)], source)
    while True:
        taken: list[Line] = []
        reader = csv.reader(_feed(waiting, taken), delimiter=delimiter, strict=True)
        try:
            for cells in reader:
                if cells:
                    yield taken[0][0], cells
                taken.clear()
            return
        except csv.Error as problem:
            start, wrong = taken[0][0], str(problem)
            hint = 'a cell with quotes or line breaks must be quoted, " doubled'
            yield start, DataError(f"{path}:{start}: not readable as CSV: {wrong}", hint)
            waiting = chain(taken[1:], waiting)
        except DataError as problem:  # a line that is not UTF-8; the record it is in is lost
            yield taken[-1][0], problem


def _feed(waiting: Iterator[Line], taken: list[Line]) -> Iterator[str]:
    """The lines for the reader, remembered in ``taken`` until their record is complete.

    Raises:
        csv.Error: the record spans too many of them.
        DataError: one is not UTF-8.
    """
    for line in waiting:
        taken.append(line)
        if isinstance(line[1], DataError):
            raise line[1]
        if len(taken) > _LONGEST_ROW:
            raise csv.Error(f"a quote is not closed within {_LONGEST_ROW:,} lines")
        yield line[1]


def _header(path: Path, line: int, cells: list[str]) -> list[str]:
    header = [cell.strip() for cell in cells]
    if "" in header:
        raise DataError(f"{path}:{line}: column {header.index('') + 1} of the header has no name", "the first line must name the columns")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}:{line}: the header names '{twice[0]}' twice", "rename one of the columns")
    return header
