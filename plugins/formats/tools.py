"""Reading calls of tools: OpenAI's ``tool_calls``, ShareGPT's ``function_call``, and the ``tools`` column of both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, ToolCall
from .fields import first_present, kind_of, object_list, text_of

TOOLS = ("tools", "functions")
"""Columns that may hold the functions a row's assistant may call."""

CALLING = frozenset({"function_call", "tool_call"})
"""Speakers whose message is a call of the assistant's, as JSON."""

RESULTS = frozenset({"tool", "function", "ipython", "observation", "tool_response"})
"""Speakers whose message is what a called function gave."""

_CALL = 'a call looks like {"name": "get_weather", "arguments": {"city": "Paris"}}'


def tools_of(row: Mapping[str, Any], source: str) -> str:
    """The tools of a row as `Example.tools` has them; empty where there are none.

    Raises:
        DataError: the column is not a list of functions with names.
    """
    name = first_present(row, TOOLS)
    value = row.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        return ""
    found = object_list(value)
    if found is None:
        raise DataError(f"{source}: column '{name}' is not a list of functions but {kind_of(value)}", _tool_hint())
    wrapped = [_tool(tool, f"tool {number} of column '{name}'", source) for number, tool in enumerate(found, start=1)]
    return _json(wrapped, f"column '{name}'", source) if wrapped else ""


def calls_of(message: Mapping[str, Any], content: Any, speaker: str, what: str, source: str) -> tuple[ToolCall, ...]:
    """The calls in a message: its ``tool_calls`` or ``function_call``, or its whole ``content`` where the speaker is one of `CALLING`.

    Raises:
        DataError: one of them has no name, or arguments that are not an object.
    """
    beside = message.get("tool_calls") or message.get("function_call") or []
    found = _loaded(content if speaker in CALLING else beside)
    listed = found if isinstance(found, list) else [found]
    return tuple(_call(call, f"call {number} of {what}", source) for number, call in enumerate(listed, start=1))


def result_text(content: Any, what: str, source: str) -> str:
    """What a function gave, as text; objects and lists of JSON data become their JSON."""
    return _json(content, what, source) if isinstance(content, (dict, list)) else text_of(content, what, source)


def _tool(tool: Any, what: str, source: str) -> dict[str, Any]:
    """A function in OpenAI's wrapping, which a bare one is put into."""
    function = tool.get("function") if isinstance(tool, Mapping) and isinstance(tool.get("function"), Mapping) else tool
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(f"{source}: {what} has no name", _tool_hint())
    return {"type": "function", "function": dict(function)}


def _tool_hint() -> str:
    return 'it looks like [{"name": "get_weather", "description": "…", "parameters": {…}}]'


def _call(call: Any, what: str, source: str) -> ToolCall:
    function = call.get("function", call) if isinstance(call, Mapping) else call
    if not isinstance(function, Mapping) or not isinstance(function.get("name"), str):
        raise DataError(f"{source}: {what} names no function", _CALL)
    arguments = _loaded(function.get("arguments")) or {}
    if not isinstance(arguments, Mapping):
        raise DataError(f"{source}: {what} has arguments that are not an object but {kind_of(arguments)}", _CALL)
    id = call.get("id")
    return ToolCall(text_of(function["name"], what, source), _json(dict(arguments), what, source), id if isinstance(id, str) else "")


def _loaded(value: Any) -> Any:
    """``value``, or what it spells as JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (json.JSONDecodeError, RecursionError):
        return value


def _json(value: Any, what: str, source: str) -> str:
    return text_of(json.dumps(value, ensure_ascii=False), what, source)
