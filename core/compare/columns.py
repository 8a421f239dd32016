"""The columns of a comparison and how their figures are written: one list for the terminal, the screen and every export."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

Kind = Literal["word", "count", "share", "bytes", "seconds", "rate", "factor", "loss", "yes"]
Better = Literal["low", "high", ""]


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        key: of a row (see `table.FIGURES`).
        title: a word or two.
        kind: how its figures are written.
        better: which end is the good one; empty: neither.
    """

    key: str
    title: str
    kind: Kind
    better: Better = ""


COLUMNS: tuple[Column, ...] = (
    Column("label", "method", "word"),
    Column("state", "state", "word"),
    Column("loss", "eval loss", "loss", "low"),
    Column("perplexity", "perplexity", "loss", "low"),
    Column("accuracy", "accuracy", "share", "high"),
    Column("f1", "F1", "share", "high"),
    Column("trainable_parameters", "trains", "count"),
    Column("trainable_share", "share", "share"),
    Column("adapter_bytes", "size", "bytes"),
    Column("steps", "steps", "count"),
    Column("tokens_per_second", "train tok/s", "rate", "high"),
    Column("seconds", "time", "seconds", "low"),
    Column("peak_memory_bytes", "peak", "bytes", "low"),
    Column("planned_memory_bytes", "planned", "bytes"),
    Column("generate_tokens_per_second", "gen tok/s", "rate", "high"),
    Column("rows_per_second", "rows/s", "rate", "high"),
    Column("speed_vs_base", "× base", "factor", "high"),
    Column("merges", "merge", "yes"),
    Column("swaps", "swap", "yes"),
)
"""Every column, in reading order: how good, how big, what it cost, how it runs."""

OPTION = "option."
"""Before an option's name in the key of its column."""

QUALITY = frozenset({"loss", "perplexity", "accuracy", "f1"})
"""Figures of the shared evaluation; until then a row has those of its training's own, marked with ``~``."""


def columns_of(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The columns that say something: those with a value in some row, and ``state`` only where one is not as it should be."""
    told = [column for column in COLUMNS if any(row.get(column.key) not in (None, "") for row in rows)]
    ended_well = all(row["state"] in ("succeeded", "evaluated") for row in rows)
    return [column for column in told if column.key != "state" or not ended_well]


def cell(row: Mapping[str, Any], column: Column) -> str:
    """A figure as people read it, with its spread where there are several seeds; empty where it is not known."""
    if column.key.startswith(OPTION):
        name = column.key.removeprefix(OPTION)
        options = row.get("options") or {}
        return _plain(options[name]) if name in options else ""
    value = row.get(column.key)
    if value is None or value == "":
        return ""
    spread = (row.get("spread") or {}).get(column.key)
    if row.get("provisional") and column.key in QUALITY:
        return f"~{written(value, column.kind)}"
    if not spread:
        return written(value, column.kind)
    if column.kind in ("bytes", "seconds"):
        return f"{written(value, column.kind)} ±{spread / value * 100:.0f} %" if value else written(value, column.kind)
    return f"{written(value, column.kind)} ±{written(spread, column.kind)}"


def written(value: Any, kind: Kind) -> str:
    """One value with its unit."""
    if kind == "word":
        return str(value)
    if kind == "yes":
        return "yes" if value else "no"
    if not math.isfinite(value):
        return str(value)
    if kind == "bytes":
        return _scaled(value, ("B", "kB", "MB", "GB", "TB"))
    if kind == "count":
        return f"{value:,.0f}" if value < 1e6 else _scaled(value, ("", "k", "M", "B", "T"))
    if kind == "share":
        return f"{value * 100:.3g} %" if value < 0.1 else f"{value * 100:.1f} %"
    if kind == "seconds":
        return f"{value:.1f} s" if value < 100 else f"{value / 60:.1f} min" if value < 6000 else f"{value / 3600:.1f} h"
    if kind == "factor":
        return f"{value:.2f}"
    if kind == "rate":
        return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
    return f"{value:.3f}" if abs(value) < 1e4 else f"{value:.2e}"


def _scaled(value: float, units: Sequence[str]) -> str:
    for unit in units:
        if abs(value) < 999.5 or unit == units[-1]:
            break
        value /= 1000
    return f"{value:.0f} {unit}".rstrip() if unit == units[0] or abs(value) >= 99.95 else f"{value:.1f} {unit}"


def best_rows(rows: Sequence[Mapping[str, Any]], column: Column) -> set[int]:
    """Numbers of the rows with the best figure of a column, the base's left out; none where all are alike."""
    values = {
        number: row[column.key]
        for number, row in enumerate(rows)
        if isinstance(row.get(column.key), (int, float)) and row.get("method") != "base"
    }
    if not column.better or len(set(values.values())) < 2:
        return set()
    best = (min if column.better == "low" else max)(values.values())
    return {number for number, value in values.items() if value == best}


def differing_options(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the options that set these rows apart, sorted.

    An option that all rows have differs by its value; one that only some methods have, where it was changed from its default.
    """
    having = [row for row in rows if row.get("options")]
    found = []
    for key in sorted({key for row in having for key in row["options"]}):
        holders = [row for row in having if key in row["options"]]
        if len(holders) == len(having):
            if any(row["options"][key] != holders[0]["options"][key] for row in holders):
                found.append(key)
        elif any(key in row.get("changed", ()) for row in holders):
            found.append(key)
    return found


def option_columns(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """A column for each option that sets these rows apart; what all have alike has none."""
    return [Column(f"{OPTION}{name}", name, "word") for name in differing_options(rows)]


def option_text(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The named options of a row in one line: ``learning_rate 0.0002, r 8``."""
    options = row.get("options") or {}
    return ", ".join(f"{name} {_plain(options[name])}" for name in names if name in options)


def _plain(value: Any) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value))
    return "none" if value is None else str(value)


def remarks(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What a reader of the figures must know, a sentence each: errors first, then notes (each once)."""
    errors = [f"{row['label']}: {row['error']['message'].removeprefix(row['label'] + ': ')}" for row in rows if row.get("error")]
    notes: dict[str, list[str]] = {}
    for row in rows:
        if row.get("note"):
            notes.setdefault(row["note"], []).append(row["label"])
    return [*errors, *(f"{', '.join(labels)}: {note}" for note, labels in notes.items())]
