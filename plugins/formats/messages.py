"""OpenAI's chat shape: a list of messages with role and content."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, DataFormat, Example
from .fields import SYSTEM, answered, kind_of, object_list, with_system
from .tools import TOOLS, tools_of
from .turns import turn

_LISTS = ("messages", "conversations", "conversation", "prompt", "chosen")
_FOLLOWING = ("completion", "chosen")


class Messages(DataFormat):
    """``messages`` of ``{"role", "content"}``, also under ``conversations``, or split into ``prompt`` and ``completion`` lists.

    Messages may have ``tool_calls``, the role ``tool`` gives their results, and a column ``tools`` lists what can be called.
    Preference data has the better answer in ``chosen``: it follows ``prompt``, or is the whole conversation.
    """

    name = "messages"
    title = "Chat messages"
    summary = "Rows with a list of messages, each with role and content."
    columns = (*_LISTS, "completion", *SYSTEM, *TOOLS)

    def matches(self, row: Mapping[str, Any]) -> bool:
        return bool(_column(row)) or (row.get("messages") is not None and not _has(row["messages"], "from"))

    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """The messages in order; those of ``completion`` (or ``chosen``) follow a ``prompt``."""
        name = _column(row) or "messages"
        messages = list(_messages(row.get(name), name, source))
        following = next((extra for extra in _FOLLOWING if name == "prompt" and row.get(extra) is not None), "")
        if following:
            value = row[following]
            messages += [value] if isinstance(value, dict) else _messages(value, following, source)
        turns = [turn(message, "role", "content", f"message {n}", source) for n, message in enumerate(messages, start=1)]
        return Example(turns=answered(with_system(row, turns, source), source), source=source, tools=tools_of(row, source))


def _column(row: Mapping[str, Any]) -> str:
    """The first column that holds messages with roles; empty when none does."""
    return next((name for name in _LISTS if _has(row.get(name), "role")), "")


def _has(value: Any, key: str) -> bool:
    found = object_list(value)
    return bool(found) and isinstance(found[0], dict) and key in found[0]


def _messages(value: Any, name: str, source: str) -> list[Any]:
    found = object_list(value)
    if found is None:
        raise DataError(
            f"{source}: column '{name}' is not a list of messages but {kind_of(value)}",
            'it looks like [{"role": "user", "content": "…"}, {"role": "assistant", "content": "…"}]',
        )
    return found
