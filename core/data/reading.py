"""Rows of data files: JSON, JSON Lines, CSV and TSV, Parquet, plain text. See ``docs/design/data.md`` for what each accepts.

All are streamed: memory does not grow with the file, but for rows that a JSON object wraps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError, DiskError, NotFound
from .csvrows import scan_csv
from .jsonrows import scan_json, scan_jsonl
from .lines import Entry, first_bytes, lines

Row = dict[str, Any]

EXTENSIONS: dict[str, str] = {
    ".json": "json",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".csv": "csv",
    ".tsv": "csv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".txt": "text",
    ".text": "text",
    ".md": "text",
}
"""File name ending → kind of file."""

_PARQUET_BATCH = 1024


def rows(path: str | Path) -> Iterator[tuple[Row, str]]:
    """Read a data file row by row.

    Yields:
        (row, source): the row's columns, and ``file:line`` (``file: row n`` for Parquet) for messages about it.

    Raises:
        NotFound: no such file.
        DataError: the file is empty or malformed; the message names file and line.
        DiskError: it cannot be read.
    """
    for entry in scan(path):
        if isinstance(entry, DataError):
            raise entry
        yield entry


def scan(path: str | Path) -> Iterator[Entry]:
    """As `rows`, but a malformed row is yielded as its `DataError`; reading goes on behind it where the format allows."""
    path = Path(path)
    if path.is_dir():
        raise DataError(f"{path} is a folder, not a data file", "name the files themselves; several are allowed")
    try:
        reader = _READERS[kind_of(path)]
        empty = True
        for entry in reader(path):
            empty = False
            yield entry
    except DataError as problem:
        empty = False
        yield problem
    except FileNotFoundError as problem:
        raise NotFound(f"{path}: no such file", "check the path of the data") from problem
    except OSError as problem:
        raise DiskError(f"{path}: {problem.strerror or problem}", "check that the file can be read") from problem
    if empty:
        yield DataError(f"{path}: the file has no rows", "give a file with at least one example")


def kind_of(path: Path) -> str:
    """Kind of a data file (a value of `EXTENSIONS`): by its ending, else by how its content begins.

    A file whose content contradicts its ending in a common way is read as what it is: JSON Lines named ``.json``, an array
    named ``.jsonl``.

    Raises:
        DataError: neither says.
    """
    start = first_bytes(path)
    kind = EXTENSIONS.get(path.suffix.lower(), "")
    if start.startswith(b"PAR1"):
        return "parquet"
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if kind == "jsonl" and head.startswith(b"["):
        return "json"
    if kind:
        return kind
    if head.startswith((b"[", b"{")):
        return "json"
    known = ", ".join(EXTENSIONS)
    raise DataError(f"{path}: not a data file that is known by its name or content", f"name it by what it holds: {known}")


def _scan_parquet(path: Path) -> Iterator[Entry]:
    """Rows of a Parquet file, a batch at a time."""
    import pyarrow
    import pyarrow.parquet

    try:
        number = 0
        with pyarrow.parquet.ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=_PARQUET_BATCH):
                for row in batch.to_pylist():
                    number += 1
                    yield row, f"{path}: row {number}"
    except (pyarrow.ArrowException, UnicodeDecodeError) as problem:
        reason = str(problem).splitlines()[0]
        yield DataError(f"{path}: not readable as Parquet: {reason}", "the file may be cut short: copy or download it again")


def _scan_text(path: Path) -> Iterator[Entry]:
    """Documents of a text file, as rows ``{"text": …}``: parted by blank lines, or one a line in a file without blank lines."""
    parted = _has_blank_lines(path)
    gathered: list[str] = []
    start = 0
    for number, line in lines(path):
        if isinstance(line, DataError):
            yield line
            continue
        if line.strip():
            if not gathered:
                start = number
            gathered.append(line.rstrip("\r\n"))
        if gathered and (not parted or not line.strip()):
            yield {"text": "\n".join(gathered)}, f"{path}:{start}"
            gathered = []
    if gathered:
        yield {"text": "\n".join(gathered)}, f"{path}:{start}"


def _has_blank_lines(path: Path) -> bool:
    """Whether a blank line stands between two lines with text."""
    blank_after_text = text_seen = False
    with path.open("rb") as file:
        for line in file:
            if line.strip():
                if blank_after_text:
                    return True
                text_seen = True
            else:
                blank_after_text = text_seen
    return False


_READERS: dict[str, Callable[[Path], Iterator[Entry]]] = {
    "json": scan_json,
    "jsonl": scan_jsonl,
    "csv": scan_csv,
    "parquet": _scan_parquet,
    "text": _scan_text,
}
