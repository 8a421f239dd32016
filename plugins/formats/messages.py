"""OpenAI's chat shape: a list of messages with role and content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, DataFormat, Example
from .fields import answered, first_present, kind_of, object_list, optional_text, turn, with_system

_LISTS = ("messages", "conversations", "conversation", "prompt")
_FOLLOWING = ("completion", "chosen")


class Messages(DataFormat):
    """``messages`` of ``{"role", "content"}``, also under ``conversations``, or split into ``prompt`` and ``completion`` lists."""

    name = "messages"
    title = "Chat messages"
    summary = "Rows with a list of messages, each with role and content."
    columns = ("messages", "conversations", "conversation", "prompt", "completion", "chosen", "system")

    def matches(self, row: Mapping[str, Any]) -> bool:
        name = first_present(row, _LISTS)
        found = object_list(row[name]) if name else None
        if name == "messages" and row[name] is not None:
            return not (found and isinstance(found[0], dict) and "from" in found[0])
        return bool(found) and isinstance(found[0], dict) and "role" in found[0]

    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """The messages in order; those of ``completion`` (or ``chosen``) follow."""
        name = first_present(row, _LISTS) or "messages"
        messages = list(self._list(row.get(name), name, source))
        for extra in _FOLLOWING if name != "messages" else ():
            if row.get(extra) is not None:
                messages += [row[extra]] if isinstance(row[extra], dict) else self._list(row[extra], extra, source)
                break
        turns = [turn(message, "role", "content", f"message {n}", source) for n, message in enumerate(messages, start=1)]
        return Example(turns=answered(with_system(optional_text(row, "system", source), turns), source), source=source)

    @staticmethod
    def _list(value: Any, name: str, source: str) -> list[Any]:
        found = object_list(value)
        if found is None:
            raise DataError(
                f"{source}: column '{name}' is not a list of messages but {kind_of(value)}",
                'it looks like [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]',
            )
        return found
