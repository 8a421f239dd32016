"""Alpaca's shape: an instruction, an optional input to it, and the output."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, DataFormat, Example, Turn
from .fields import SYSTEM, answered, first_present, object_list, optional_text, text_of, with_system

_INPUTS = ("input", "context")
_OUTPUTS = ("output", "response")


class Alpaca(DataFormat):
    """``instruction``, ``input`` (or ``context``), ``output`` (or ``response``); ``system`` and ``history`` may be there too."""

    name = "alpaca"
    title = "Alpaca"
    summary = "Rows with instruction, optional input, and output."
    columns = ("instruction", "input", "output", "context", "response", *SYSTEM, "history")

    def matches(self, row: Mapping[str, Any]) -> bool:
        return "instruction" in row and bool(first_present(row, _OUTPUTS))

    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """The input follows the instruction after a blank line; ``history`` pairs come first."""
        instruction = text_of(row.get("instruction"), "column 'instruction'", source)
        given = optional_text(row, first_present(row, _INPUTS), source)
        output = first_present(row, _OUTPUTS) or "output"
        answer = text_of(row.get(output), f"column '{output}'", source)
        prompt = f"{instruction}\n\n{given}" if given.strip() else instruction
        if not prompt.strip():
            raise DataError(f"{source}: instruction and input are empty", "remove the row")
        turns = [*_history(row.get("history"), source), Turn("user", prompt), Turn("assistant", answer)]
        return Example(turns=answered(with_system(row, turns, source), source), source=source)


def _history(value: Any, source: str) -> list[Turn]:
    """Earlier rounds, ``[[instruction, output], …]``."""
    if value is None or value == "":
        return []
    pairs = object_list(value)
    if pairs is None or not all(isinstance(pair, list) and len(pair) == 2 for pair in pairs):
        raise DataError(f"{source}: column 'history' is not a list of pairs", 'it looks like [["instruction", "output"], …]')
    turns = []
    for number, (asked, said) in enumerate(pairs, start=1):
        turns.append(Turn("user", text_of(asked, f"instruction of history round {number}", source)))
        turns.append(Turn("assistant", text_of(said, f"output of history round {number}", source)))
    return turns
