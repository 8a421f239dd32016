"""Rows of data in every shape and data files of every kind, for tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ALPACA = [
    {"instruction": "Name a colour.", "input": "", "output": "Blue."},
    {"instruction": "Translate to French.", "input": "Good day", "output": "Bonjour"},
    {"instruction": "Say 你好 back.", "input": "", "output": "你好！ 🎉"},
]
PROMPT_RESPONSE = [{"prompt": "How many legs has a spider?", "response": "Eight."}, {"prompt": "And an ant?", "response": "Six,\nalways."}]
MESSAGES = [
    {
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hello."},
        ]
    },
    {"messages": [{"role": "user", "content": "1+1?"}, {"role": "assistant", "content": "2"}]},
]
SHAREGPT = [
    {"conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello."}]},
    {"conversations": [{"from": "system", "value": "Be kind."}, {"from": "human", "value": "Bye"}, {"from": "gpt", "value": "Farewell."}]},
]
TEXT = [{"text": "A first passage of running text."}, {"text": "A second one, 第二."}]

SHAPES: dict[str, list[dict[str, Any]]] = {
    "alpaca": ALPACA,
    "prompt_response": PROMPT_RESPONSE,
    "messages": MESSAGES,
    "sharegpt": SHAREGPT,
    "text": TEXT,
}
"""Name of a format plugin → rows in its shape."""


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows as the kind of file that ``path`` ends in (lists in CSV cells as JSON) and return ``path``."""
    kind = path.suffix
    if kind == ".json":
        path.write_text(json.dumps(rows, ensure_ascii=False, indent=2), encoding="utf-8")
    elif kind == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    elif kind in (".csv", ".tsv"):
        _write_csv(path, rows, "\t" if kind == ".tsv" else ",")
    elif kind == ".parquet":
        import pyarrow
        import pyarrow.parquet

        pyarrow.parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
    else:
        raise ValueError(f"no writer for {kind}")
    return path


def _write_csv(path: Path, rows: Sequence[dict[str, Any]], delimiter: str) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(rows[0])
        for row in rows:
            writer.writerow([cell if isinstance(cell, str) else json.dumps(cell, ensure_ascii=False) for cell in row.values()])
