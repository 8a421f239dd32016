"""Texts with labels for tests: three classes that a tiny model learns within a few steps, of very different lengths."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

_ENDINGS = {
    "health": "Give three tips for staying healthy: eat well, sleep enough.",
    "fox": "The quick brown fox jumps over the lazy dog.",
    "code": "def add(a: int, b: int) -> int: return a + b",
}
_REST = "People read in the morning."


def labelled_rows(count: int = 24, names: Sequence[Any] = tuple(_ENDINGS)) -> list[dict[str, Any]]:
    """``count`` rows over ``names`` in turn, the n-th after n % 4 repetitions of a sentence that says nothing."""
    endings = list(_ENDINGS.values())
    return [
        {"text": f"{n} " + f"{_REST} " * (n % 4) + endings[n % len(names)], "label": names[n % len(names)]} for n in range(count)
    ]  # fmt: skip


def write_labelled(path: Path, rows: Sequence[dict[str, Any]] | None = None) -> Path:
    """Write rows (by default `labelled_rows`) as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in (labelled_rows() if rows is None else rows)))
    return path
