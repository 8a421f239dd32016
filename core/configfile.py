"""Changing one setting in the configuration file: its line is replaced, everything else (comments too) stays as it was written."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tomli_w

from . import fsio
from .config import Settings, check_settings, read_toml
from .options import describe
from .paths import config_file

_HEADER = re.compile(r"\s*\[\s*([\w.-]+)\s*\]")


def save_setting(name: str, value: Any, path: Path | None = None) -> Settings:
    """Write one setting and return all of them; a value that is the default takes its line out.

    A file in which the setting cannot be changed line by line (a table written in one line, a value over several) is written anew,
    which loses its comments.

    Args:
        name: as in `describe(Settings)`, for example ``notify.bell``.
        path: default: `paths.config_file`; made with its folder where it does not exist.

    Raises:
        UsageError: the file is malformed, or the value is not allowed; nothing is written then.
        DiskError: it cannot be written; the old file stays.
    """
    path = path or config_file()
    values = read_toml(path) if path.exists() else {}
    default = {row.name: row.default for row in describe(Settings)}[name]
    kept = None if value == default else value
    wanted = _changed(values, name, kept)
    settings = check_settings(wanted, path)
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    edited = _edited(text, name, kept)
    with fsio.disk_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    fsio.write_bytes(path, (edited if _reads(edited) == wanted else tomli_w.dumps(wanted)).encode())
    return settings


def _changed(values: Mapping[str, Any], name: str, value: Any) -> dict[str, Any]:
    """The file's values with one setting changed, or taken out for ``None``; empty tables go."""
    first, _, rest = name.partition(".")
    changed = dict(values)
    changed[first] = _changed(values.get(first, {}), rest, value) if rest else value
    if changed[first] is None or changed[first] == {}:
        del changed[first]
    return changed


def _reads(text: str) -> Any:
    try:
        return _without_empty(tomllib.loads(text))
    except tomllib.TOMLDecodeError:
        return None


def _without_empty(values: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value != {}}


def _edited(text: str, name: str, value: Any) -> str:
    """The text with the setting's line (or table) replaced, added or removed; the caller checks that it means what it should."""
    lines = text.splitlines()
    table, _, key = name.rpartition(".")
    if isinstance(value, Mapping) or (value is None and _header(lines, name) is not None):
        start = _header(lines, name)
        if start is not None:
            del lines[start : _end_of_table(lines, start)]
        block = tomli_w.dumps({name: dict(value)}).splitlines() if value else []
        return "\n".join([*lines, *([""] if block and lines and lines[-1] else []), *block, ""])
    new = [] if value is None else tomli_w.dumps({key: value}).splitlines()
    start = -1 if not table else _header(lines, table)
    if start is None:
        new = ["", f"[{table}]", *new] if new else []
        return "\n".join([*lines, *new, ""])
    end = _end_of_table(lines, start)
    place = next((i for i in range(start + 1, end) if re.match(rf"\s*{re.escape(key)}\s*=", lines[i])), None)
    if place is not None:
        lines[place : place + 1] = new
    else:
        while end > start + 1 and not lines[end - 1].strip():
            end -= 1
        lines[end:end] = new
    return "\n".join([*lines, ""])


def _header(lines: list[str], table: str) -> int | None:
    """The line of a table's header."""
    return next((i for i, line in enumerate(lines) if (found := _HEADER.match(line)) and found[1] == table), None)


def _end_of_table(lines: list[str], start: int) -> int:
    """The line after a table that begins at ``start`` (-1: the values before the first header)."""
    return next((i for i in range(start + 1, len(lines)) if lines[i].lstrip().startswith("[")), len(lines))
