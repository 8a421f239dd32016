"""A comparison's table as a file: Markdown for people, CSV for spreadsheets, JSON for programs."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from ..errors import NotFound, UsageError
from ..fsio import write_bytes
from .columns import best_rows, cell, columns_of, differing_options, option_columns, option_text, remarks
from .table import FIGURES

_WORDS = ("method", "label", "state")


def markdown(table: Mapping[str, Any]) -> str:
    """A table with the best figure of each column in bold; what differs, errors and notes below it."""
    rows = table["rows"]
    columns = columns_of(rows)
    lines = [f"# {table['name'] or 'Comparison'}", ""]
    lines += [f"{name}: {value}" for name, value in headline(table)]
    lines += ["", _line([column.title for column in columns]), _line(["---" if column.kind == "word" else "---:" for column in columns])]
    best = {column.key: best_rows(rows, column) for column in columns}
    for number, row in enumerate(rows):
        texts = [(cell(row, column), number in best[column.key]) for column in columns]
        lines.append(_line([f"**{text}**" if marked else text for text, marked in texts]))
    names = differing_options(rows)
    below = [f"{row['label']}: {text}" for row in rows if (text := option_text(row, names))] + remarks(rows)
    if below:
        lines += ["", *(f"- {sentence}" for sentence in below)]
    return "\n".join(lines) + "\n"


def headline(table: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What all rows have in common, in words."""
    data = ", ".join(Path(path).name for path in table["data"] or [])
    seeds = ", ".join(map(str, table["seeds"]))
    facts = [("model", table["model"]), ("data", data), ("evaluated on", table["evaluated_on"]), ("seeds", seeds)]
    return [(name, str(value)) for name, value in facts if value]


def _line(texts: list[str]) -> str:
    return "| " + " | ".join(text.replace("|", "\\|") for text in texts) + " |"


def csv_text(table: Mapping[str, Any]) -> str:
    """Raw numbers, a row a method; with several seeds each figure is followed by its ``_spread``. Options that differ come last."""
    rows = table["rows"]
    spreads = {name for row in rows for name in row.get("spread") or {}}
    names: list[str] = [*_WORDS]
    for name in FIGURES:
        names += [name, f"{name}_spread"] if name in spreads else [name]
    options = option_columns(rows)
    names += ["merges", "swaps", "seeds", "error", *(column.key for column in options)]
    out = io.StringIO()
    writer = csv.DictWriter(out, names, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for row in rows:
        spread = {f"{name}_spread": value for name, value in (row.get("spread") or {}).items()}
        chosen = {column.key: cell(row, column) for column in options}
        writer.writerow({**row, **spread, **chosen, "error": (row.get("error") or {}).get("message", "")})
    return out.getvalue()


def json_text(table: Mapping[str, Any]) -> str:
    """The document that ``--json`` prints, indented."""
    return msgspec.json.format(msgspec.json.encode(table), indent=2).decode() + "\n"


_FORMATS: dict[str, Callable[[Mapping[str, Any]], str]] = {".md": markdown, ".csv": csv_text, ".json": json_text}


def check_target(path: Path) -> Path:
    """The absolute path of a file that a table can be exported to.

    Raises:
        UsageError: its ending is none of ``.md``, ``.csv``, ``.json``.
        NotFound: its folder does not exist.
    """
    target = path.expanduser().absolute()
    if target.suffix.lower() not in _FORMATS:
        raise UsageError(f"{path.name or path}: a comparison is exported by its ending", f"use one of {', '.join(_FORMATS)}")
    if not target.parent.is_dir():
        raise NotFound(f"{target.parent}: no such folder", "make it first")
    return target


def export(table: Mapping[str, Any], path: Path) -> Path:
    """Write a table in the format of the file's ending, whole or not at all; an existing file is replaced.

    Raises:
        UsageError, NotFound: as `check_target`.
        DiskError: it could not be written.
    """
    target = check_target(path)
    write_bytes(target, _FORMATS[target.suffix.lower()](table).encode())
    return target
