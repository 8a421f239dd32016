"""A comparison for the screen: read in a thread, written as lines of a table, bars and notes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.content import Content

from ..core.compare.columns import (
    COLUMNS,
    Column,
    best_rows,
    cell,
    columns_of,
    differing_options,
    option_columns,
    option_text,
    remarks,
    written,
)
from ..core.compare.export import headline
from ..core.paths import Home
from .format import percent
from .glyphs import STATE_STYLES, Glyphs, bar, shorten
from .widgets.curves import colour_of, letter_of

if TYPE_CHECKING:
    from ..core.fsio import JsonlReader
    from ..core.runs.spec import MetricLine

MEASURES = (
    "loss", "accuracy", "f1", "trainable_parameters", "peak_memory_bytes", "tokens_per_second", "generate_tokens_per_second",
    "rows_per_second", "seconds", "adapter_bytes",
)  # fmt: skip
"""Figures that are worth a bar, in order."""

_LIKE = {"waiting": "queued", "refused": "failed", "evaluated": "succeeded"}
"""States of rows that are no states of runs, and those whose sign they have."""


@dataclass(frozen=True)
class Seen:
    """A comparison as it was at one moment.

    Attributes:
        table: as `core.compare.table.compare_table` gives it.
        lines: what is new in the metrics of the rows' (first) runs, by number of the row's curve.
    """

    table: dict[str, Any]
    lines: dict[int, list[MetricLine]] = field(default_factory=dict)

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table's rows."""
        return self.table["rows"]

    @property
    def active(self) -> bool:
        """Whether something is still to happen."""
        states = {self.table["state"], *(row["state"] for row in self.rows)}
        return bool(states & {"queued", "starting", "running", "stopping"})


class Reader:
    """Reads runs again and again; of metrics only what is new. Used by one thread at a time."""

    def __init__(self, home: Home, run_ids: Sequence[str]) -> None:
        self.home, self.run_ids = home, tuple(run_ids)
        self._readers: dict[str, JsonlReader] = {}

    def read(self) -> Seen:
        """The comparison as it is now."""
        from ..core.compare.past import runs_table
        from ..core.runs.store import RunStore

        store = RunStore(self.home)
        table = runs_table(store, [store.get(run_id) for run_id in self.run_ids])
        return Seen(table, {number: self._new(row["runs"][0]) for number, row in numbered(table["rows"]) if number >= 0 and row["runs"]})

    def _new(self, run_id: str) -> list[MetricLine]:
        from ..core.fsio import JsonlReader
        from ..core.runs.spec import MetricLine

        if run_id not in self._readers:
            self._readers[run_id] = JsonlReader(self.home.runs / run_id / "metrics.jsonl", MetricLine)
        return self._readers[run_id].read()


def numbered(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, Mapping[str, Any]]]:
    """Rows with the numbers of their curves; the base has none (-1)."""
    found, number = [], 0
    for row in rows:
        found.append((-1 if row["method"] == "base" else number, row))
        number += row["method"] != "base"
    return found


def table_lines(seen: Seen, glyphs: Glyphs, width: int, skip: int) -> tuple[Content, list[Content], int, int]:
    """The table in ``width`` cells, some columns scrolled away to the left.

    Args:
        skip: columns to leave out behind the first; fewer are where the rest would not fill the width.

    Returns:
        The headings, a line a row, how many columns were left out on the left and on the right.
    """
    rows = seen.rows
    columns = [*columns_of(rows)[1:], *option_columns(rows)]
    widths = [max(cell_len(column.title), *(cell_len(_text(row, column)) for row in rows)) for column in columns]
    names = min(28, max(10, *(cell_len(row["label"]) for row in rows)))
    room = width - names - 4
    while skip > 0 and sum(widths[skip - 1 :]) + 2 * len(widths[skip - 1 :]) <= room:
        skip -= 1
    skip = min(skip, max(0, len(columns) - 1))
    shown, used = [], 0
    for column, wide in list(zip(columns, widths))[skip:]:
        used += wide + 2
        if used > room and shown:
            break
        shown.append((column, wide))
    best = {column.key: best_rows(rows, column) for column, _ in shown}
    head = Content.assemble(
        (" " * (names + 4), "$muted"), *((f"  {_pad(column.title, wide, column)}", "bold $muted") for column, wide in shown)
    )
    lines = []
    for index, (number, row) in enumerate(numbered(rows)):
        state = _LIKE.get(str(row["state"]), str(row["state"]))
        parts: list[Any] = [
            (f"{letter_of(number) if number >= 0 else ' '} ", f"bold {colour_of(number)}" if number >= 0 else "$muted"),
            (f"{glyphs.states.get(state, ' ')} ", STATE_STYLES.get(state, "$muted")),
            (_pad(shorten(row["label"], names, glyphs), names, COLUMNS[0]), "$foreground"),
        ]
        for column, wide in shown:
            style = "bold $accent" if index in best[column.key] else "$foreground"
            parts.append((f"  {_pad(_text(row, column), wide, column)}", style))
        lines.append(Content.assemble(*parts))
    return head, lines, skip, len(columns) - skip - len(shown)


def _text(row: Mapping[str, Any], column: Column) -> str:
    """A cell; a training that is under way says how far it is."""
    if column.key == "state" and row["state"] in ("running", "stopping") and row.get("total_steps"):
        return f"{row['state']} {percent((row['steps'] or 0) / row['total_steps'])}"
    return cell(row, column)


def _pad(text: str, width: int, column: Column) -> str:
    blank = " " * max(0, width - cell_len(text))
    return text + blank if column.kind in ("word", "yes") else blank + text


def measures(rows: Sequence[Mapping[str, Any]]) -> list[Column]:
    """The figures that some row has and that are worth a bar."""
    by = {column.key: column for column in COLUMNS}
    return [by[key] for key in MEASURES if any(row.get(key) for row in rows)]


def bar_lines(seen: Seen, glyphs: Glyphs, width: int, height: int, first: int) -> Content:
    """Bars of as many figures as there is room for, beginning with number ``first``."""
    rows, found = numbered(seen.rows), measures(seen.rows)
    if not found:
        return Content.styled("no figures yet", "$muted")
    names = min(14, max(cell_len(row["label"]) for _, row in rows))
    lines: list[Content] = []
    for place in range(len(found)):
        column = found[(first + place) % len(found)]
        block = _bars(rows, column, glyphs, width, names)
        if lines and len(lines) + 1 + len(block) > height:
            break
        lines += [Content(""), *block] if lines else block
    return Content("\n").join(lines)


def _bars(rows: Sequence[tuple[int, Mapping[str, Any]]], column: Column, glyphs: Glyphs, width: int, names: int) -> list[Content]:
    better = {"low": "less is better", "high": "more is better", "": ""}[column.better]
    lines = [Content.assemble((column.title, "bold $foreground"), (f"  {better}", "$faint"))]
    values = {number: row.get(column.key) for number, row in rows}
    top = max((value for value in values.values() if value), default=0.0)
    wide = max(4, width - names - 15)
    for number, row in rows:
        value = values[number]
        if value is None:
            continue
        letter = letter_of(number) if number >= 0 else " "
        style = colour_of(number) if number >= 0 else "$muted"
        filled = bar(value / top if top else 0.0, wide, glyphs).rstrip(glyphs.empty).ljust(wide)
        name = shorten(row["label"], names, glyphs)
        lines.append(
            Content.assemble(
                (f"{letter} ", f"bold {style}"),
                (name + " " * (names - cell_len(name)) + " ", "$muted"),
                (filled, style),
                (f" {written(value, column.kind):>11}", "$foreground"),
            )  # fmt: skip
        )
    return lines


def note_lines(seen: Seen) -> Content:
    """What all have in common, the options that differ, errors and notes."""
    lines = [Content.assemble((f"{name:<13}", "$muted"), (value, "$foreground")) for name, value in headline(seen.table)]
    names = differing_options(seen.rows)
    different = [(row["label"], text) for row in seen.rows if (text := option_text(row, names))]
    if different:
        lines += [Content(""), Content.styled("options that differ", "bold $foreground")]
        lines += [Content.assemble((f"{label}  ", "$muted"), (text, "$foreground")) for label, text in different]
    said = remarks(seen.rows)
    if said:
        lines += [Content(""), *(Content.styled(sentence, "$warning") for sentence in said)]
    return Content("\n").join(lines)
