"""ShareGPT's shape: conversations of messages with from and value."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, DataFormat, Example
from .fields import SYSTEM, answered, first_present, kind_of, object_list, with_system
from .tools import TOOLS, tools_of
from .turns import turn

_LISTS = ("conversations", "conversation", "messages")


class ShareGpt(DataFormat):
    """``conversations`` of ``{"from": "human" | "gpt" | "system" | "function_call" | "observation", "value"}``, and ``tools``.

    Preference data has the better answer apart, in ``chosen``: it becomes the last turn, ``rejected`` is left out.
    """

    name = "sharegpt"
    title = "ShareGPT"
    summary = "Rows with conversations of messages, each with from and value; chosen, if there, is the last answer."
    columns = ("conversations", "conversation", "chosen", *SYSTEM, *TOOLS)
    priority = -1

    def matches(self, row: Mapping[str, Any]) -> bool:
        name = first_present(row, _LISTS)
        found = object_list(row[name]) if name else None
        if found is None:
            return name.startswith("conversation")
        return (not found and name != "messages") or bool(found and isinstance(found[0], dict) and "role" not in found[0])

    def read(self, row: Mapping[str, Any], source: str) -> Example:
        """The turns in order, the chosen answer last."""
        name = first_present(row, _LISTS) or "conversations"
        found = object_list(row.get(name))
        if found is None:
            raise DataError(
                f"{source}: column '{name}' is not a list of messages but {kind_of(row.get(name))}",
                'it looks like [{"from": "human", "value": "…"}, {"from": "gpt", "value": "…"}]',
            )
        turns = [turn(message, "from", "value", f"message {n}", source) for n, message in enumerate(found, start=1)]
        if row.get("chosen") is not None:
            turns.append(turn(row["chosen"], "from", "value", "'chosen'", source))
        return Example(turns=answered(with_system(row, turns, source), source), source=source, tools=tools_of(row, source))
