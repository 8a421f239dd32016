"""What a model's chat template makes of a conversation, and which characters of it are the assistant's."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ..api import CorruptFile, DataError, Turn, UnsafeFile

T = TypeVar("T")
Span = tuple[int, int]
"""Characters ``start`` (inclusive) to ``end`` (exclusive)."""

_MARK = "\ue000answer\ue001"
"""Stands for an answer while its place in the rendered text is looked for; private-use characters, so in no real text."""

_GENERATION_TAG = re.compile(r"\{%-?\s*generation\s*-?%\}")


def apply_template(tokenizer: Any, turns: Sequence[Turn], *, add_generation_prompt: bool = False) -> str:
    """``turns`` as text, through the tokenizer's chat template (in transformers' Jinja sandbox).

    Raises:
        DataError: the template refuses the conversation.
        CorruptFile: the template is not valid Jinja.
        UnsafeFile: the template tried what the sandbox forbids.
    """
    messages = _messages(turns)
    return _guarded(lambda: tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=add_generation_prompt))


def answer_spans(tokenizer: Any, turns: Sequence[Turn], text: str) -> list[Span]:
    """Where the assistant's turns are in ``text``, the rendered ``turns``.

    A template that marks them itself (``{% generation %}``) is believed; a special token right behind one is its end of
    turn and added. Of others the beginnings of the conversation are rendered: an answer starts where the generation prompt before it ends
    and ends where the conversation up to it does. Where a template renders a beginning differently from the whole
    (earlier reasoning left out, system message moved), a mark rendered in the answer's place shows it.

    Raises:
        DataError: none of these tells.
    """
    if _GENERATION_TAG.search(tokenizer.get_chat_template()):
        return _tagged_spans(tokenizer, turns, text)
    spans: list[Span] = []
    for number, turn in enumerate(turns):
        if turn.role != "assistant":
            continue
        start = _start(tokenizer, turns, number, text)
        end = _end(tokenizer, turns, number, text, start)
        if start < (spans[-1][1] if spans else 0) or end < start:
            raise _unknown(number)
        spans.append((start, end))
    return spans


def _tagged_spans(tokenizer: Any, turns: Sequence[Turn], text: str) -> list[Span]:
    from transformers.utils.chat_template_utils import render_jinja_template

    arguments: dict[str, Any] = {"conversations": [_messages(turns)], **tokenizer.special_tokens_map}
    answer: Any = _guarded(
        lambda: render_jinja_template(chat_template=tokenizer.get_chat_template(), return_assistant_tokens_mask=True, **arguments)
    )
    rendered, indices = answer
    if rendered[0] != text or not indices[0]:
        raise _unknown(next(number for number, turn in enumerate(turns) if turn.role == "assistant"))
    special = [token.content for token in tokenizer.added_tokens_decoder.values() if token.special]
    closing = {end: next((len(token) for token in special if text.startswith(token, end)), 0) for _, end in indices[0]}
    return [(start, end + closing[end]) for start, end in indices[0]]


def _start(tokenizer: Any, turns: Sequence[Turn], number: int, text: str) -> int:
    """Where the answer of turn ``number`` starts."""
    if number:
        prompt = _render_or_none(tokenizer, turns[:number], add_generation_prompt=True)
        if prompt is not None and text.startswith(prompt):
            return len(prompt)
    before, _ = _around(tokenizer, turns, number)
    if not text.startswith(before):
        raise _unknown(number)
    return len(before)


def _end(tokenizer: Any, turns: Sequence[Turn], number: int, text: str, start: int) -> int:
    """Where the answer of turn ``number``, which starts at ``start``, ends."""
    if number == len(turns) - 1:
        return len(text)
    upto = _render_or_none(tokenizer, turns[: number + 1])
    if upto is not None and len(upto) > start and text.startswith(upto):
        return len(upto)
    _, after = _around(tokenizer, turns, number)
    if not text.endswith(after):
        raise _unknown(number)
    _, closing = _around(tokenizer, turns[: number + 1], number)
    return len(text) - len(after) + len(os.path.commonprefix([after, closing]))


def _around(tokenizer: Any, turns: Sequence[Turn], number: int) -> tuple[str, str]:
    """The rendered text before and after the answer of turn ``number``."""
    marked = [*turns[:number], Turn("assistant", _MARK), *turns[number + 1 :]]
    parts = apply_template(tokenizer, marked).split(_MARK)
    if len(parts) != 2:
        raise _unknown(number)
    return parts[0], parts[1]


def _render_or_none(tokenizer: Any, turns: Sequence[Turn], *, add_generation_prompt: bool = False) -> str | None:
    """A beginning of the conversation; nothing where the template refuses it, although it takes the whole."""
    try:
        return apply_template(tokenizer, turns, add_generation_prompt=add_generation_prompt)
    except DataError:
        return None


def _unknown(number: int) -> DataError:
    return DataError(
        f"the model's chat template does not tell where the answer of turn {number + 1} is",
        "train on every token (completion_only_loss=false), or mark the answers in the template with {% generation %}",
    )


def _messages(turns: Sequence[Turn]) -> list[dict[str, str]]:
    return [{"role": turn.role, "content": turn.content} for turn in turns]


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
            "check the order of the roles; some models have no system role",
        ) from problem
