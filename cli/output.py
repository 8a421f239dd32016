"""stdout is data, stderr is narration: JSON documents, tables for people, errors with hints."""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from ..core.errors import FineTUIError


def write_json(value: Any) -> None:
    """Write one JSON document (one line) to stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def narrate(text: str) -> None:
    """Say something to the person at the terminal, on stderr."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def report(error: FineTUIError, *, as_json: bool) -> int:
    """Print an error in the contract's form and return its exit code; a traceback only with ``FINETUI_DEBUG=1``."""
    if os.environ.get("FINETUI_DEBUG") == "1":
        traceback.print_exception(error)
    narrate(f"error: {error.message}")
    if error.hint:
        narrate(f"hint: {error.hint}")
    if as_json:
        with contextlib.suppress(OSError):  # stdout itself may be what failed
            write_json({"error": error.to_dict()})
    return error.exit_code


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[tuple[str, str]], *, empty: str) -> None:
    """Print rows as a table on stdout.

    Args:
        columns: (key, heading) pairs; a heading that ends in ``>`` is aligned to the right.
        empty: printed on stderr when there are no rows.
    """
    from rich import box
    from rich.console import Console
    from rich.table import Table

    rows = list(rows)
    if not rows:
        narrate(empty)
        return
    grid = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for index, (_, heading) in enumerate(columns):
        grid.add_column(
            heading.rstrip(">"), justify="right" if heading.endswith(">") else "left", overflow="fold" if index == 0 else "ellipsis"
        )
    for row in rows:
        grid.add_row(*(plain(row.get(key)) for key, _ in columns))
    width = None if sys.stdout.isatty() else 200
    Console(width=width, highlight=False, markup=False).print(grid)


def plain(value: Any) -> str:
    """A value as people read it: nothing for ``None``, four digits for a float, ``yes``/``no``."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(item) for item in value)
    return str(value)


def size(count: float | None) -> str:
    """Bytes with a unit: ``35.2 MB``, ``1.4 GB`` (powers of 1000)."""
    if count is None:
        return ""
    for unit in ("B", "kB", "MB", "GB"):
        if abs(count) < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.2f} TB"


def day(moment: float) -> str:
    """Seconds since the epoch as a local date, nothing for 0."""
    return time.strftime("%Y-%m-%d", time.localtime(moment)) if moment else ""


def markdown(text: str) -> None:
    """A model card on stdout: rendered, its front matter as plain lines, where that is a terminal; else as it is."""
    if not sys.stdout.isatty():
        sys.stdout.write(text if text.endswith("\n") else text + "\n")
        return
    from rich.console import Console
    from rich.markdown import Markdown

    from ..hub.card import split_card

    facts, body = split_card(text)
    details({key: value for key, value in facts.items() if isinstance(value, (str, list)) and key != "model-index"})
    print()
    Console(width=min(100, Console().width)).print(Markdown(body))


def spark(shares: Sequence[float]) -> str:
    """Percentages as a line of block heights, where stdout can show them."""
    levels = "▁▂▃▄▅▆▇█"
    if "utf" not in (sys.stdout.encoding or "").lower():
        return ""
    return "".join(levels[min(len(levels) - 1, int(share / 100 * len(levels)))] for share in shares)


def quantity(count: int | None) -> str:
    """A count of parameters or tokens: ``3.9 M``, ``7.2 B``."""
    if count is None:
        return ""
    value = float(count)
    for unit in ("", " k", " M"):
        if value < 1000:
            return f"{value:.0f}{unit}" if unit == "" else f"{value:.1f}{unit}"
        value /= 1000
    return f"{value:.1f} B"


def details(values: Mapping[str, Any]) -> None:
    """Print one thing as aligned ``key  value`` lines on stdout, nested mappings indented."""
    _details(values, "")


def _details(values: Mapping[str, Any], indent: str) -> None:
    width = max((len(key) for key in values), default=0)
    for key, value in values.items():
        if isinstance(value, Mapping):
            if value:
                print(f"{indent}{key}")
                _details(value, indent + "  ")
        elif value not in (None, "", [], ()):
            print(f"{indent}{key:<{width}}  {plain(value)}")


def plural(count: int, noun: str) -> str:
    """``1 row``, ``2,000 rows``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
