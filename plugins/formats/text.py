"""Running text: no questions, no answers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataFormat, Example
from .fields import first_present, text_of

_TEXTS = ("text", "content")


class PlainText(DataFormat):
    """A ``text`` (or ``content``) column; text files are read into this shape. Blank rows are left out."""

    name = "text"
    title = "Plain text"
    summary = "Rows of running text, in a text column or a text file."
    columns = _TEXTS
    priority = -10

    def matches(self, row: Mapping[str, Any]) -> bool:
        return bool(first_present(row, _TEXTS))

    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """The text as it is; a blank one gives an example without text, which is left out of the data."""
        name = first_present(row, _TEXTS) or "text"
        text = text_of(row.get(name), f"column '{name}'", source)
        return Example(text=text if text.strip() else "", source=source)
