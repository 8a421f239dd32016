"""What a chat template can express, found by trying it, and conversations rewritten for templates that cannot.

A template that knows no tools leaves them out without a word, and one without a system role refuses; in both cases the
same content is given another way, in training and in inference alike.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..api import DataError, ToolCall, Turn
from .templates import ChatTemplate, ToolForm

_TOOLS = '[{"type": "function", "function": {"name": "probefind", "description": "d", "parameters": {"type": "object", "properties": {}}}}]'
_WITH_CALL = (
    Turn("user", "probeask"),
    Turn("assistant", "", (ToolCall("probecall", '{"probekey": "probevalue"}', "probe0001"),)),
    Turn("tool", "proberesult", call_id="probe0001"),
    Turn("assistant", "probeanswer"),
)
_WITH_SYSTEM = (Turn("system", "probesystem"), Turn("user", "probeask"), Turn("assistant", "probeanswer"))
_FORMS = (ToolForm(), ToolForm(text_arguments=True))


@dataclass(frozen=True, slots=True)
class Abilities:
    """What a template has a place for.

    Attributes:
        system: a first message of the system, also in a conversation that ends with an answer (Mistral's loses it there).
        tools: how it wants calls of tools; none: it cannot show them.
        ends_turns: an answer ends with a special token, from which a model learns to stop.
    """

    system: bool
    tools: ToolForm | None
    ends_turns: bool


def abilities_of(tokenizer: Any) -> Abilities:
    """Try the template of ``tokenizer``."""
    template = ChatTemplate(tokenizer)
    return Abilities(_shows(template, _WITH_SYSTEM, "", ["probesystem"]), _tool_form(tokenizer), _ends_turns(tokenizer, template))


def _tool_form(tokenizer: Any) -> ToolForm | None:
    """The first of `_FORMS` in which tools, a call with its arguments and a result are all shown."""
    said = ["probefind", "probecall", "probekey", "probevalue", "proberesult", "probeanswer"]
    return next((form for form in _FORMS if _shows(ChatTemplate(tokenizer, form), _WITH_CALL, _TOOLS, said)), None)


def _shows(template: ChatTemplate, turns: Sequence[Turn], tools: str, said: Sequence[str]) -> bool:
    try:
        text = template.render(turns, tools)
    except DataError:
        return False
    return all(word in text for word in said)


def _ends_turns(tokenizer: Any, template: ChatTemplate) -> bool:
    try:
        text = template.render(_WITH_SYSTEM[1:])
    except DataError:
        return True  # it cannot be tried; what it writes is left as it is
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    return any(token in text.rpartition("probeanswer")[2] for token in special)


def without_system(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    """A first system message put before the first user message, a blank line between, as Gemma 3's template has it."""
    if not turns or turns[0].role != "system":
        return tuple(turns)
    system, rest = turns[0].content, turns[1:]
    if rest and rest[0].role == "user":
        return (Turn("user", f"{system}\n\n{rest[0].content}"), *rest[1:])
    return (Turn("user", system), *rest)


def without_tools(turns: Sequence[Turn], tools: str) -> tuple[Turn, ...]:
    """Tools told of in the system message, calls and results as tagged JSON in ordinary turns, as Hermes models have them."""
    plain: list[Turn] = []
    for turn in turns:
        if turn.calls:
            calls = "\n".join(f"<tool_call>\n{_call_line(call)}\n</tool_call>" for call in turn.calls)
            plain.append(Turn("assistant", f"{turn.content}\n{calls}" if turn.content.strip() else calls))
        elif turn.role == "tool":
            _append_user(plain, f"<tool_response>\n{turn.content}\n</tool_response>", "\n")
        elif turn.role == "user" and plain and plain[-1].role == "user":
            _append_user(plain, turn.content, "\n\n")
        else:
            plain.append(turn)
    if not tools:
        return tuple(plain)
    told = _told(tools)
    if plain and plain[0].role == "system":
        return (Turn("system", f"{plain[0].content}\n\n{told}"), *plain[1:])
    return (Turn("system", told), *plain)


def _call_line(call: ToolCall) -> str:
    return f'{{"name": {json.dumps(call.name, ensure_ascii=False)}, "arguments": {call.arguments}}}'


def _append_user(turns: list[Turn], content: str, between: str) -> None:
    """Add what is not the assistant's; two user turns in a row would be refused by many templates."""
    if turns and turns[-1].role == "user":
        turns[-1] = Turn("user", turns[-1].content + between + content)
    else:
        turns.append(Turn("user", content))


def _told(tools: str) -> str:
    listed = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in json.loads(tools))
    call = '<tool_call>\n{"name": the function, "arguments": {its arguments}}\n</tool_call>'
    return f"These functions can be called:\n<tools>\n{listed}\n</tools>\n\nA call is written as\n{call}"
