"""Rows of JSON and JSON Lines files, each with the line it starts on."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from ..errors import DataError
from .lines import BOM, Entry, lines

WRAPPERS = ("data", "rows", "train", "examples")
"""Keys under which a JSON object may hold the list of rows."""

_SPACE = re.compile(r"[ \t\r\n]*")
_EXCERPT = 40
_QUICK = msgspec.json.Decoder()
_CHUNK = 1 << 17
_ESCAPE = 16
"""A syntax error so close to the end of what was read may be only that: a literal or an escape cut in two."""


def scan_jsonl(path: Path) -> Iterator[Entry]:
    """Rows of a JSON Lines file: one object a line, blank lines allowed."""
    for number, line in lines(path):
        if isinstance(line, DataError):
            yield line
        elif line.strip():
            try:
                value = _decoded(line)
            except json.JSONDecodeError as problem:
                yield _syntax_error(f"{path}:{number}: column {problem.colno}", problem, "every line must be one complete JSON object")
                continue
            except RecursionError:
                yield _too_deep(path, number)
                continue
            yield _row(value, f"{path}:{number}")


def _decoded(line: str) -> Any:
    """One JSON value, by the quick decoder where it takes the line and else by the one that allows more and says what is wrong."""
    try:
        return _QUICK.decode(line)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return json.loads(line.rstrip("\r\n"))


def scan_json(path: Path) -> Iterator[Entry]:
    """Rows of a JSON file: an array of objects, an object that holds one under a key of `WRAPPERS`, or objects in sequence."""
    window = _Window(path)
    try:
        yield from _values(path, window)
    except UnicodeDecodeError:
        yield next(line for _, line in lines(path) if isinstance(line, DataError))
    except json.JSONDecodeError as problem:
        line, column = window.where(problem.pos)
        yield _syntax_error(f"{path}:{line}: column {column}", problem, "check the brackets, commas and quotes there")
    except RecursionError:
        yield _too_deep(path, window.line)


def _values(path: Path, window: _Window) -> Iterator[Entry]:
    """Every row of the JSON values that ``window`` looks at.

    Raises:
        json.JSONDecodeError: with its place in the window.
        UnicodeDecodeError: the file is not UTF-8.
    """
    while window.skip():
        in_array = window.take("[")
        while not (in_array and window.skip() == "]"):
            source = f"{path}:{window.line}"
            yield from _rows_of(window.value(), source, path, in_array)
            if not in_array:
                break
            if window.skip() == ",":
                window.take(",")
                if window.skip() == "]":
                    raise window.error("a comma before the closing ']'")
            elif window.skip() != "]":
                raise window.error("Expecting ',' or ']'")
        if in_array:
            window.take("]")


class _Window:
    """A file's text from where reading is to as far as a value needs, so that a file larger than memory can be read.

    Attributes:
        line: of the file, from 1, where reading is.
        column: characters of that line before it.
    """

    def __init__(self, path: Path) -> None:
        self.line, self.column = 1, 0
        self._file = path.open("rb")
        self._file.seek(len(BOM) if self._file.read(len(BOM)) == BOM else 0)
        self._bytes = codecs.getincrementaldecoder("utf-8")()
        self._decoder = json.JSONDecoder()
        self._text, self._place, self._ended = "", 0, False

    def skip(self) -> str:
        """Pass over blanks; returns the character behind them, nothing at the end of the file."""
        while True:
            match = _SPACE.match(self._text, self._place)
            assert match is not None  # it matches nothing, too
            self._advance(match.end())
            if self._place < len(self._text) or not self._more(_CHUNK):
                return self._text[self._place : self._place + 1]

    def take(self, character: str) -> bool:
        """Pass over ``character`` if it is the next one."""
        if self.skip() != character:
            return False
        self._advance(self._place + 1)
        return True

    def value(self) -> Any:
        """Pass over the value that starts here.

        Raises:
            json.JSONDecodeError: it is malformed.
        """
        self.skip()
        while True:
            try:
                value, end = self._decoder.raw_decode(self._text, self._place)
            except json.JSONDecodeError as problem:
                cut = problem.pos > len(self._text) - _ESCAPE or problem.msg.startswith("Unterminated string")
                if not cut or not self._more(max(_CHUNK, len(self._text) - self._place)):  # doubled: no value is parsed too often
                    raise
                continue
            if end == len(self._text) and self._more(_CHUNK):  # a number may go on
                continue
            self._advance(end)
            return value

    def error(self, message: str) -> json.JSONDecodeError:
        """An error about where reading is."""
        return json.JSONDecodeError(message, self._text, self._place)

    def where(self, position: int) -> tuple[int, int]:
        """Line and column, both from 1, of a place in the window at or behind where reading is."""
        breaks = self._text.count("\n", self._place, position)
        if breaks:
            return self.line + breaks, position - self._text.rindex("\n", self._place, position)
        return self.line, self.column + position - self._place + 1

    def _more(self, size: int) -> bool:
        """Read on; whether there was anything."""
        if self._ended:
            return False
        block = self._file.read(size)
        added = self._bytes.decode(block, final=not block)
        if not block:
            self._ended = True
            return False
        self._text, self._place = self._text[self._place :] + added, 0
        return True

    def _advance(self, end: int) -> None:
        line, column = self.where(end)
        self.line, self.column, self._place = line, column - 1, end


def _rows_of(value: Any, source: str, path: Path, in_array: bool) -> Iterator[Entry]:
    """The rows of one value: itself, or those it wraps."""
    wrapped = next((value[key] for key in WRAPPERS if isinstance(value.get(key), list)), None) if isinstance(value, dict) else None
    if in_array or wrapped is None or not all(isinstance(item, dict) for item in wrapped):
        yield _row(value, source)
        return
    for number, item in enumerate(wrapped, start=1):
        yield _row(item, f"{path}: row {number}")


def _row(value: Any, source: str) -> Entry:
    if isinstance(value, dict):
        return value, source
    names = {list: "a list", str: "a string", int: "a number", float: "a number", bool: "true or false", type(None): "null"}
    return DataError(f"{source}: the row is {names[type(value)]}, not an object", 'a row looks like {"prompt": "…", "response": "…"}')


def _syntax_error(where: str, problem: json.JSONDecodeError, hint: str) -> DataError:
    text = problem.doc[problem.pos :].split("\n", 1)[0].rstrip("\r")
    excerpt = text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else "")
    found = f"at {excerpt!r}" if excerpt else "where the text ends"
    return DataError(f"{where}: malformed JSON: {problem.msg} {found}", hint)


def _too_deep(path: Path, line: int) -> DataError:
    return DataError(f"{path}:{line}: JSON nested too deeply", "a row is an object of texts and short lists")
