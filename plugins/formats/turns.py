"""Reading the messages of a conversation, whoever speaks. Shared by the formats that have messages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...core.api import DataError, Turn
from .fields import ROLES, kind_of, text_of
from .tools import CALLING, RESULTS, calls_of, result_text


def turn(message: Any, role_key: str, content_key: str, what: str, source: str) -> Turn:
    """One message of a conversation.

    Raises:
        DataError: it is not an object, its speaker is not known, what it says is not text, or a call in it is malformed.
    """
    if not isinstance(message, Mapping):
        raise DataError(f"{source}: {what} is not an object but {kind_of(message)}", f'a message has "{role_key}" and "{content_key}"')
    speaker = message.get(role_key)
    if not isinstance(speaker, str):
        raise DataError(f"{source}: {what} has no '{role_key}'", f'a message has "{role_key}" and "{content_key}"')
    speaker, called = speaker.lower(), f"'{content_key}' of {what}"
    if speaker in RESULTS:
        given = message.get(content_key)
        content = _join_parts(given, called, source) if _is_parts(given) else given
        id = message.get("tool_call_id")
        return Turn("tool", result_text(content, called, source), call_id=id if isinstance(id, str) else "")
    calls = calls_of(message, message.get(content_key), speaker, what, source)
    if speaker in CALLING:
        return Turn("assistant", "", calls)
    if speaker not in ROLES:
        raise DataError(f"{source}: {what} has the unknown {role_key} '{message[role_key]}'", f"known are {', '.join(ROLES)}")
    content = _join_parts(message.get(content_key), called, source)
    return Turn(ROLES[speaker], "" if calls and content is None else text_of(content, called, source), calls)


def _is_parts(content: Any) -> bool:
    return isinstance(content, list) and all(isinstance(part, Mapping) and part.get("type") == "text" for part in content)


def _join_parts(content: Any, what: str, source: str) -> Any:
    """Text of a content given as parts (``[{"type": "text", "text": …}]``); any other content as it is."""
    if not isinstance(content, list):
        return content
    texts = []
    for part in content:
        if not isinstance(part, Mapping) or part.get("type", "text") != "text" or "text" not in part:
            raise DataError(f"{source}: {what} has a part that is not text", "only text can be trained on: remove images and the like")
        texts.append(text_of(part["text"], what, source))
    return "".join(texts)
