"""Texts with a label each, to learn to classify."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, DataFormat, Example
from .fields import first_present, kind_of, text_of

_TEXTS = ("text", "content", "sentence")
_LABELS = ("label", "labels", "class", "category")


class Classification(DataFormat):
    """A ``text`` (or ``content``, ``sentence``) and a ``label`` (or ``class``, ``category``): text, a whole number, or true and false."""

    name = "classification"
    title = "Text and label"
    summary = "Rows with a text and its label: a word, a whole number, or true and false."
    task = "seq-cls"
    columns = (*_TEXTS, *_LABELS)

    def matches(self, row: Mapping[str, Any]) -> bool:
        return bool(first_present(row, _TEXTS) and first_present(row, _LABELS))

    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """The text and the label's name; a row without either is refused, as leaving it out would hide a mistake."""
        name, label = first_present(row, _TEXTS) or "text", first_present(row, _LABELS) or "label"
        text = text_of(row.get(name), f"column '{name}'", source)
        if not text.strip():
            raise DataError(f"{source}: column '{name}' is empty", "remove the row: there is nothing to classify")
        return Example(text=text, label=_label(row.get(label), label, source), source=source)


def _label(value: Any, column: str, source: str) -> str:
    """The class's name: ``true`` and ``false`` for booleans, ``3`` for the number 3 (or 3.0, as tables hold columns with gaps)."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, int):
        return str(value)
    if value is None or value == "":
        raise DataError(f"{source}: column '{column}' has no label", "label the row, or remove it")
    if not isinstance(value, str):
        raise DataError(
            f"{source}: the label is {kind_of(value)}", "a label is a word, a whole number, or true or false; each row has one of them"
        )
    return text_of(value, f"column '{column}'", source).strip()
