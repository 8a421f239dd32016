"""What a model's chat template makes of a conversation, and which characters of it are the assistant's."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from ..api import CorruptFile, DataError, ToolCall, Turn, UnsafeFile

T = TypeVar("T")
Span = tuple[int, int]
"""Characters ``start`` (inclusive) to ``end`` (exclusive)."""

_MARK = "\ue000answer\ue001"
"""Stands for a turn's content while its place in the rendered text is looked for; private-use characters, so in no real text."""

_GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")


@dataclass(frozen=True, slots=True)
class ToolForm:
    """How a template wants calls of tools.

    Attributes:
        text_arguments: the arguments as JSON text rather than as an object.
    """

    text_arguments: bool = False


class ChatTemplate:
    """The chat template of ``tokenizer``; every method is in transformers' Jinja sandbox.

    Every method raises:
        DataError: the template refuses the conversation.
        CorruptFile: the template is not valid Jinja.
        UnsafeFile: the template tried what the sandbox forbids.
    """

    def __init__(self, tokenizer: Any, form: ToolForm = ToolForm()) -> None:
        self._tokenizer = tokenizer
        self._form = form
        self._tagged = bool(_GENERATION_TAG.search(tokenizer.get_chat_template()))

    def render(self, turns: Sequence[Turn], tools: str = "", *, add_generation_prompt: bool = False) -> str:
        """``turns`` as text; ``tools`` as in `Example`."""
        messages, functions = messages_of(turns, self._form), json.loads(tools) if tools else None
        return _guarded(
            lambda: self._tokenizer.apply_chat_template(
                messages, tools=functions, tokenize=False, add_generation_prompt=add_generation_prompt
            )
        )

    def answer_spans(self, turns: Sequence[Turn], tools: str, text: str, *, last_only: bool = False) -> list[Span]:
        """Where the assistant's turns are in ``text``, the rendered ``turns``.

        A template that marks them itself (``{% generation %}``) is believed; a special token right behind one is its end of
        turn and added. Of others the beginnings of the conversation are rendered: an answer starts where the generation
        prompt before it ends and ends where the conversation up to it does. Where a template renders a beginning differently
        from the whole (earlier reasoning left out, system message moved), marks rendered in its place and in its neighbour's
        show it.

        Raises:
            DataError: none of these tells.
        """
        if self._tagged:
            spans = self._tagged_spans(turns, tools, text)
            return spans[-1:] if last_only else spans
        numbers = [number for number, turn in enumerate(turns) if turn.role == "assistant"]
        spans = []
        for number in numbers[-1:] if last_only else numbers:
            place = _Place(self, turns, tools, number, text)
            start = place.start()
            end = place.end(start)
            if start < (spans[-1][1] if spans else 0) or end < start:
                raise unknown(turns, number)
            spans.append((start, end))
        return spans

    def _tagged_spans(self, turns: Sequence[Turn], tools: str, text: str) -> list[Span]:
        from transformers.utils.chat_template_utils import render_jinja_template

        arguments: dict[str, Any] = {"conversations": [messages_of(turns, self._form)], **self._tokenizer.special_tokens_map}
        answer: Any = _guarded(
            lambda: render_jinja_template(
                chat_template=self._tokenizer.get_chat_template(), tools=json.loads(tools) if tools else None,
                return_assistant_tokens_mask=True, **arguments,
            )
        )  # fmt: skip
        rendered, indices = answer
        if rendered[0] != text or not indices[0]:
            raise unknown(turns, next(number for number, turn in enumerate(turns) if turn.role == "assistant"))
        special = [token.content for token in self._tokenizer.added_tokens_decoder.values() if token.special]
        closing = {end: next((len(token) for token in special if text.startswith(token, end)), 0) for _, end in indices[0]}
        return [(start, end + closing[end]) for start, end in indices[0]]


@dataclass(frozen=True, slots=True)
class _Place:
    """Looks for one answer, turn ``number``, in the rendered ``text``; every way gives nothing where it does not tell."""

    template: ChatTemplate
    turns: Sequence[Turn]
    tools: str
    number: int
    text: str

    def start(self) -> int:
        """Where the answer starts."""
        for way in (self._start_by_prompt, self._start_by_mark, self._start_by_turn_before):
            found = way()
            if found is not None:
                return found
        raise unknown(self.turns, self.number)

    def end(self, start: int) -> int:
        """Where the answer ends that starts at ``start``."""
        if self.number == len(self.turns) - 1:
            return len(self.text)
        found = self._end_by_beginning(start)
        found = self._end_by_mark() if found is None else found
        if found is None:
            raise unknown(self.turns, self.number)
        return found

    def _start_by_prompt(self) -> int | None:
        prompt = self._prompt()
        return len(prompt) if prompt is not None and self.text.startswith(prompt) else None

    def _start_by_mark(self) -> int | None:
        around = self._around(self.turns, self.number)
        return len(around[0]) if around and self.text.startswith(around[0]) else None

    def _start_by_turn_before(self) -> int | None:
        """The text between the content of the turn before and the answer is the same in a conversation that ends there."""
        if not self.number:
            return None
        around = self._around(self.turns, self.number - 1)
        short = self._around(self.turns[: self.number], self.number - 1, add_generation_prompt=True)
        if around is None or short is None or not (self.text.endswith(around[1]) and around[1].startswith(short[1])):
            return None
        return len(self.text) - len(around[1]) + len(short[1])

    def _end_by_beginning(self, start: int) -> int | None:
        """The conversation up to the answer is a beginning of the whole, or at least its answer is the same."""
        upto = self._render(self.turns[: self.number + 1])
        if upto is None:
            return None
        if len(upto) > start and self.text.startswith(upto):
            return len(upto)
        prompt = self._prompt()
        if prompt and upto.startswith(prompt) and self.text.startswith(upto[len(prompt) :], start):
            return start + len(upto) - len(prompt)
        return None

    def _end_by_mark(self) -> int | None:
        around, short = self._around(self.turns, self.number), self._around(self.turns[: self.number + 1], self.number)
        if around is None or short is None or not self.text.endswith(around[1]):
            return None
        return len(self.text) - len(around[1]) + len(os.path.commonprefix([around[1], short[1]]))

    def _prompt(self) -> str | None:
        """What stands before the answer when it is generated."""
        return self._render(self.turns[: self.number], add_generation_prompt=True) if self.number else None

    def _around(self, turns: Sequence[Turn], number: int, *, add_generation_prompt: bool = False) -> tuple[str, str] | None:
        """The rendered text before and after the content of turn ``number``, which is taken not to call tools."""
        marked = [*turns[:number], replace(turns[number], content=_MARK, calls=()), *turns[number + 1 :]]
        parts = (self._render(marked, add_generation_prompt=add_generation_prompt) or "").split(_MARK)
        return (parts[0], parts[1]) if len(parts) == 2 else None

    def _render(self, turns: Sequence[Turn], *, add_generation_prompt: bool = False) -> str | None:
        """Part of the conversation, or one that is changed; nothing where the template refuses it, although it takes the whole."""
        try:
            return self.template.render(turns, self.tools, add_generation_prompt=add_generation_prompt)
        except DataError:
            return None


def unknown(turns: Sequence[Turn], number: int) -> DataError:
    """What to say where a template hides the answer that turn ``number`` is."""
    answer = sum(turn.role == "assistant" for turn in turns[: number + 1])
    return DataError(
        f"the model's chat template does not tell where answer {answer} of the conversation is",
        "train on every token (loss_on=all), or mark the answers in the template with {% generation %}",
    )


def messages_of(turns: Sequence[Turn], form: ToolForm) -> list[dict[str, Any]]:
    """Turns as the messages that chat templates take; calls without an id get one, results the name of what they answer."""
    messages: list[dict[str, Any]] = []
    waiting: dict[str, str] = {}
    for number, turn in enumerate(turns):
        message: dict[str, Any] = {"role": turn.role, "content": turn.content}
        if turn.calls:
            calls = {call.id or f"call{number:03d}{place:02d}": call for place, call in enumerate(turn.calls)}
            message["tool_calls"] = [_call_message(id, call, form) for id, call in calls.items()]
            waiting |= {id: call.name for id, call in calls.items()}
        elif turn.role == "tool":
            id = turn.call_id or next(iter(waiting), "")
            known = {"tool_call_id": id, "name": waiting.pop(id, "")}
            message |= {key: value for key, value in known.items() if value}
        messages.append(message)
    return messages


def _call_message(id: str, call: ToolCall, form: ToolForm) -> dict[str, Any]:
    arguments = call.arguments if form.text_arguments else json.loads(call.arguments)
    return {"id": id, "type": "function", "function": {"name": call.name, "arguments": arguments}}


def _guarded(render: Callable[[], T]) -> T:
    """Run ``render``, with Jinja's errors as ours."""
    import jinja2

    try:
        return render()
    except jinja2.TemplateSyntaxError as problem:
        raise CorruptFile(f"the model's chat template is not valid Jinja: {problem}", "repair chat_template.jinja") from problem
    except jinja2.exceptions.SecurityError as problem:
        raise UnsafeFile(f"the model's chat template tried what its sandbox forbids: {problem}", "do not use this model") from problem
    except (jinja2.TemplateError, TypeError, ValueError, LookupError) as problem:
        raise DataError(
            f"the model's chat template refuses the conversation: {problem}",
            "check the order of the roles; most models want user and assistant in turns",
        ) from problem
