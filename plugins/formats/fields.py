"""Reading the columns of a row, with errors that say what is wrong where. Shared by the formats beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from ...core.api import DataError, Turn

ROLES: dict[str, str] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "bot": "assistant",
    "chatgpt": "assistant",
}
"""Names of speakers in data files → the role they have in chat templates."""

SYSTEM = ("system", "system_prompt")
"""Columns that may hold a row's system message."""


def first_present(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """The first of ``names`` that is a column of ``row``, columns that are not null before others; empty when none is."""
    present = [name for name in names if name in row]
    return next((name for name in present if row[name] is not None), present[0] if present else "")


def text_of(value: Any, what: str, source: str) -> str:
    """``value`` if it is text that can be tokenised.

    Args:
        what: how messages call it, for example ``column 'output'``.

    Raises:
        DataError: it is missing, of another type, or holds half a surrogate pair (``"\\ud83d"`` alone).
    """
    if value is None:
        raise DataError(f"{source}: {what} is missing", "give every row a text there, or remove the row")
    if not isinstance(value, str):
        raise DataError(f"{source}: {what} is not text but {kind_of(value)}", "put quotes around it, or name another column with --columns")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError as problem:
        raise DataError(
            f"{source}: {what} has half of a surrogate pair (\\u{ord(value[problem.start]):04x}) at character {problem.start + 1}",
            "write the character itself, or both halves of the pair",
        ) from problem
    return value


def optional_text(row: Mapping[str, Any], name: str, source: str) -> str:
    """The text of a column that may be absent or null; empty then."""
    return "" if row.get(name) is None else text_of(row[name], f"column '{name}'", source)


def kind_of(value: Any) -> str:
    """The type of a JSON value, in words."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, (int, float)):
        return f"the number {value}"
    if value is None:
        return "null"
    return {list: "a list", dict: "an object", str: "text"}.get(type(value), f"a {type(value).__name__}")


def object_list(value: Any) -> list[Any] | None:
    """``value`` if it is a list, or the list that it spells as JSON text (lists in CSV cells); nothing otherwise."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            value = json.loads(value)
        except (json.JSONDecodeError, RecursionError):
            return None
    return value if isinstance(value, list) else None


def answered(turns: Sequence[Turn], source: str) -> tuple[Turn, ...]:
    """``turns``, if there is something to learn from them.

    Raises:
        DataError: there are none, or no turn is the assistant's.
    """
    if not turns:
        raise DataError(f"{source}: the conversation is empty", "remove the row")
    if not any(each.role == "assistant" for each in turns):
        raise DataError(f"{source}: no answer of the assistant in the conversation", "add the answer, or remove the row")
    return tuple(turns)


def with_system(row: Mapping[str, Any], turns: Sequence[Turn], source: str) -> list[Turn]:
    """``turns`` with the system message of a column of `SYSTEM` first, unless they have one."""
    system = optional_text(row, first_present(row, SYSTEM), source)
    if not system.strip() or (turns and turns[0].role == "system"):
        return list(turns)
    return [Turn("system", system), *turns]
