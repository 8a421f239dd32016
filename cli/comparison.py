"""A comparison's table on stdout, and into a file."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.cells import cell_len

from ..core.compare.columns import Column, cell, columns_of, differing_options, option_text, remarks
from ..core.compare.export import export, headline
from ..core.compare.table import table_of
from ..core.runs.store import Run
from .command import App
from .output import narrate, table, write_json
from .watch import error_of

_WIDE = 200
"""Columns taken for granted where stdout is no terminal."""


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Print what the rows have in common, the table (in parts where the terminal is too narrow for all of it), and remarks."""
    for name, value in headline(comparison):
        print(f"{name:<14}{value}")
    rows = comparison["rows"]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else _WIDE
    for part in _parts(rows, width):
        shown = [{column.key: cell(row, column) for column in part} for row in rows]
        table(shown, [(column.key, column.title + ("" if column.kind == "word" else ">")) for column in part], empty="no rows")
    names = differing_options(rows)
    different = [f"{row['label']}: {text}" for row in rows if (text := option_text(row, names))]
    if different:
        print("options that differ", *(f"  {line}" for line in different), sep="\n")
    for sentence in remarks(rows):
        print(f"- {sentence}")


def comparison_outcome(app: App, run: Run, target: Path | None = None) -> None:
    """Print the table of a comparison that has ended, and export it where a file is named.

    Raises:
        FineTUIError: the comparison failed or was lost, with its own error.
    """
    comparison, state = table_of(app.runs, run), run.state().state
    failed = state in ("failed", "lost")
    if app.json and not failed:
        write_json(comparison)
    elif not app.json:
        print_comparison(comparison)
    save(comparison, target)
    if failed:
        raise error_of(run)
    if state == "stopped":
        narrate(f"stopped; finetui runs resume {run.id} goes on with what is not done")


def _parts(rows: list[dict[str, Any]], width: int) -> list[list[Column]]:
    """The columns, in as many tables as the width makes necessary; each begins with the method."""
    first, *others = columns_of(rows)
    room = width - _width(rows, first)
    parts: list[list[Column]] = [[first]]
    used = 0
    for column in others:
        need = _width(rows, column)
        if used and used + need > room:
            parts.append([first])
            used = 0
        parts[-1].append(column)
        used += need
    return parts


def _width(rows: list[dict[str, Any]], column: Column) -> int:
    return max(cell_len(column.title), *(cell_len(cell(row, column)) for row in rows)) + 2


def save(comparison: Mapping[str, Any], target: Path | None) -> None:
    """Export where a file is named, and say so."""
    if target is not None:
        narrate(f"wrote {export(comparison, target)}")
