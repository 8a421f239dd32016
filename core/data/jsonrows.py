"""Rows of JSON and JSON Lines files, each with the line it starts on."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..errors import DataError
from .lines import BOM, Entry, lines, not_utf8

WRAPPERS = ("data", "rows", "train", "examples")
"""Keys under which a JSON object may hold the list of rows."""

_SPACE = re.compile(r"[ \t\r\n]*")
_EXCERPT = 40


def scan_jsonl(path: Path) -> Iterator[Entry]:
    """Rows of a JSON Lines file: one object a line, blank lines allowed."""
    for number, line in lines(path):
        if isinstance(line, DataError):
            yield line
        elif line.strip():
            try:
                value = json.loads(line.rstrip("\r\n"))
            except (json.JSONDecodeError, RecursionError) as problem:
                yield _syntax_error(path, number, problem)
                continue
            yield _row(value, f"{path}:{number}")


def scan_json(path: Path) -> Iterator[Entry]:
    """Rows of a JSON file: an array of objects, an object that holds one under a key of `WRAPPERS`, or objects in sequence."""
    raw = path.read_bytes().removeprefix(BOM)
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as problem:
        start = raw.rfind(b"\n", 0, problem.start) + 1
        inside = UnicodeDecodeError("utf-8", raw[start : problem.end + 1], problem.start - start, problem.end - start, problem.reason)
        yield not_utf8(path, raw.count(b"\n", 0, start) + 1, inside)
        return
    del raw
    try:
        yield from _values(path, text)
    except (json.JSONDecodeError, RecursionError) as problem:
        yield _syntax_error(path, 0, problem)


def _values(path: Path, text: str) -> Iterator[Entry]:
    """Every row of the JSON values in ``text``.

    Raises:
        json.JSONDecodeError: with its place in ``text``.
    """
    decoder = json.JSONDecoder()
    place = _skip(text, 0)
    line, counted = 1, 0
    while place < len(text):
        in_array = text[place] == "["
        if in_array:
            place = _skip(text, place + 1)
        while not (in_array and text[place : place + 1] == "]"):
            line += text.count("\n", counted, place)
            counted = place
            value, place = decoder.raw_decode(text, place)
            yield from _rows_of(value, f"{path}:{line}", path, in_array)
            place = _skip(text, place)
            if not in_array:
                break
            if text[place : place + 1] == ",":
                place = _skip(text, place + 1)
                if text[place : place + 1] == "]":
                    raise json.JSONDecodeError("a comma before the closing ']'", text, place)
            elif text[place : place + 1] != "]":
                raise json.JSONDecodeError("Expecting ',' or ']'", text, place)
        if in_array:
            place = _skip(text, place + 1)


def _skip(text: str, place: int) -> int:
    match = _SPACE.match(text, place)
    return match.end() if match else place


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


def _syntax_error(path: Path, line: int, problem: json.JSONDecodeError | RecursionError) -> DataError:
    """The error for malformed JSON; ``line`` is the line of the file that ``problem`` is about, 0 for the whole file."""
    if isinstance(problem, RecursionError):
        return DataError(f"{path}:{line or 1}: JSON nested too deeply", "a row is an object of texts and short lists")
    text = problem.doc[problem.pos :].split("\n", 1)[0].rstrip("\r")
    excerpt = text[:_EXCERPT] + ("…" if len(text) > _EXCERPT else "")
    found = f"at {excerpt!r}" if excerpt else "where the text ends"
    where = f"{path}:{line or problem.lineno}: column {problem.colno}"
    hint = "every line must be one complete JSON object" if line else "check the brackets, commas and quotes there"
    return DataError(f"{where}: malformed JSON: {problem.msg} {found}", hint)
