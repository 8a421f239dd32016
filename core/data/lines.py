"""Lines of a text file, decoded one by one, so that bad bytes are reported with their line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError

Entry = tuple[dict[str, Any], str] | DataError
"""What a reader yields: a row with its source, or what is wrong with it."""

BOM = b"\xef\xbb\xbf"
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_SAVE_AS_UTF8 = "save the file as UTF-8"


def first_bytes(path: Path, count: int = 4096) -> bytes:
    """The first bytes of a file."""
    with path.open("rb") as file:
        return file.read(count)


def lines(path: Path) -> Iterator[tuple[int, str | DataError]]:
    """Numbered lines of a UTF-8 file, line ends kept, a byte-order mark left out.

    Lines end at ``\\n`` only: U+2028 and its like are ordinary characters, as JSON Lines has it.

    Yields:
        (line number from 1, the line, or a `DataError` where it is not UTF-8).
    """
    with path.open("rb") as file:
        for number, raw in enumerate(file, start=1):
            if number == 1:
                raw = raw.removeprefix(BOM)
            try:
                yield number, raw.decode("utf-8")
            except UnicodeDecodeError as problem:
                yield number, not_utf8(path, number, problem)


def not_utf8(path: Path, line: int, problem: UnicodeDecodeError) -> DataError:
    """The error for bytes that are not UTF-8; ``problem.start`` counts from the start of ``line``."""
    if problem.object.startswith(_UTF_16):
        return DataError(f"{path}:{line}: the file is UTF-16, not UTF-8", _SAVE_AS_UTF8)
    byte = problem.object[problem.start]
    return DataError(f"{path}:{line}: byte {problem.start + 1} of the line (0x{byte:02x}) is not UTF-8", _SAVE_AS_UTF8)
