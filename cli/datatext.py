"""What ``finetui data`` says to people: a report with a picture of the lengths, and rows with their loss marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .output import details, narrate, plural, size

_LISTED = 10
"""Repeated rows named one by one; ``--json`` has more."""

_BAR = 40


def print_report(row: Mapping[str, Any]) -> None:
    """The report of ``data check``, as `DataReport` has it, with ``tokens`` where they were counted."""
    shown = ("files", "format", "objective", "rows", "columns", "digest", "characters", "labels", "empty_answers", "blank_rows")
    details({**{key: row[key] or None for key in shown}, "size": size(row["size_bytes"])})
    tokens = row.get("tokens")
    if tokens:
        _print_lengths(tokens)
    asked, said = ("text", "label") if row["labels"] else ("prompt", "answer")
    _print_repeats("the same as an earlier row", row["duplicates"], row["duplicate_rows"])
    _print_repeats(f"the same {asked} as an earlier row, with another {said}", row["conflicts"], row["conflicting_rows"])
    for problem in row["problems"]:
        narrate(f"{problem['source']}: {problem['message']}")


def _print_lengths(tokens: Mapping[str, Any]) -> None:
    whole = tokens["whole"]
    print(f"\ntokens of a row: median {whole['median']:,.0f}, 95 % up to {whole['p95']:,}, longest {whole['max']:,}")
    most = max(part["count"] for part in tokens["histogram"])
    for part in tokens["histogram"]:
        places = f"{part['from']:,} to {part['to']:,}"
        print(f"{places:>17} {part['count']:>9,} {_bar(part['count'] / most)}".rstrip())
    limit = f"max_length {tokens['max_length']:,}"
    cut = f"{plural(tokens['truncated'], 'row')} would be cut to {limit}" if tokens["truncated"] else f"no row would be cut to {limit}"
    print(cut + (f", and {plural(tokens['dropped'], 'row')} left out: no answer remains" if tokens["dropped"] else ""))
    print(f"{tokens['tokens']:,} tokens to train on, {tokens['loss_tokens']:,} of them with loss")


def _bar(share: float) -> str:
    """A bar of `_BAR` cells at most; something for anything above zero."""
    return "#" * (max(1, round(share * _BAR)) if share else 0)


def _print_repeats(what: str, count: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Each row with the earlier one behind it; of that only the line where it is in the same file."""
    if not count:
        return
    print(f"\n{what}: {plural(count, 'row')}")
    for repeat in rows[:_LISTED]:
        file, _, line = repeat["source"].rpartition(":")
        first, _, earlier = repeat["first"].rpartition(":")
        where = f"line {line.strip()}" if line.isdigit() else line.strip()
        print(f"  {Path(file).name} {where}, first in {'' if first == file else Path(first).name + ' '}{earlier.strip()}")
    if count > _LISTED:
        print(f"  … and {count - _LISTED:,} more")


def print_rows(rows: Sequence[Mapping[str, Any]]) -> None:
    """Rows as training would see them: tokens that carry loss bright, others dim."""
    from rich.console import Console
    from rich.text import Text

    console = Console(highlight=False)
    for number, row in enumerate(rows, 1):
        learned = sum(label != -100 for label in row["labels"])
        what = f"the label is {row['label']}" if "label" in row else f"{learned} carry loss"
        console.rule(f"row {number}: {len(row['input_ids'])} tokens, {what}")
        text = Text()
        for token, label in zip(row.get("tokens", []), row["labels"], strict=False):
            text.append(token, style="dim" if label == -100 and "label" not in row else "bold")
        console.print(text if row.get("tokens") else row["text"])
