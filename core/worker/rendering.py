"""Conversations as text and tokens, with one model's tokenizer and chat template; the same for training and inference.

With a chat template the text is what ``tokenizer.apply_chat_template`` gives, and the tokens are those of the whole text at
once. An answer starts where the generation prompt ends, so that the model learns to continue what inference shows it, and
ends with its turn, end-of-turn token included, so that it learns to stop. A template that ends no turn with a special token
(Falcon's) gets the end-of-text token behind a last answer.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from functools import cached_property
from operator import itemgetter
from typing import Any

from ..api import Encoded, Refused, Rendered, Renderer, Turn
from .abilities import Abilities, abilities_of, without_system, without_tools
from .templates import ChatTemplate, Span, ToolForm

INSTRUCTION = "### Instruction:\n"
RESPONSE = "### Response:\n"
_NO_TOOLS = "the model's chat template knows no tools: they stand in the system message, calls and results as tagged JSON"
_NO_SYSTEM = "the model's chat template has no system role: system messages stand before the first user message"


class ChatRenderer(Renderer):
    """Renders with ``tokenizer``'s chat template, or with ``### Instruction:`` / ``### Response:`` where it has none.

    Attributes:
        notes: sentences about what the template has no place for and how it was given instead; grows while rendering.

    Raises:
        Refused: the tokenizer cannot say which characters a token stands for (no ``tokenizer.json``).
    """

    def __init__(self, tokenizer: Any) -> None:
        if not tokenizer.is_fast:
            raise Refused(
                "the model's tokenizer has no fast form, so its tokens cannot be matched to the text",
                "save it once with transformers' AutoTokenizer, so that the folder has a tokenizer.json",
            )
        self.tokenizer = tokenizer
        self.has_template = bool(tokenizer.chat_template)
        self.notes: dict[str, None] = {}
        self._eos: str = tokenizer.eos_token or ""
        self._end: list[int] = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        first = tokenizer("a")["input_ids"][:1]
        self._begin: list[int] = first if first == [tokenizer.bos_token_id] else []

    @cached_property
    def _abilities(self) -> Abilities:
        return abilities_of(self.tokenizer) if self.has_template else Abilities(system=True, tools=None, ends_turns=True)

    @cached_property
    def _template(self) -> ChatTemplate:
        return ChatTemplate(self.tokenizer, self._abilities.tools or ToolForm())

    def conversation(self, turns: Sequence[Turn], tools: str = "", *, last_only: bool = False) -> Iterator[tuple[str, bool]]:
        """The rendered conversation in pieces; joined, they are the whole text.

        Raises:
            DataError: the chat template refuses the conversation, or does not tell where the answers are.
        """
        turns, tools = self._fitted(turns, tools)
        if not self.has_template:
            pieces = list(_plain_pieces(turns, self._eos))
            last = max((number for number, (_, marked) in enumerate(pieces) if marked), default=0)
            yield from ((text, marked and (number == last or not last_only)) for number, (text, marked) in enumerate(pieces))
            return
        text = self._template.render(turns, tools)
        spans = self._template.answer_spans(turns, tools, text, last_only=last_only)
        closing = self._closing(turns)
        place = 0
        for start, end in spans:
            if start > place:
                yield text[place:start], False
            yield text[start:end] + (closing if end == len(text) else ""), True
            place = end
        if place < len(text):
            yield text[place:], False

    def whole(self, turns: Sequence[Turn], tools: str = "") -> str:
        """The rendered conversation as one text.

        Raises:
            DataError: the chat template refuses the conversation.
        """
        if not self.has_template:
            return super().whole(turns, tools)
        turns, tools = self._fitted(turns, tools)
        return self._template.render(turns, tools) + self._closing(turns)

    def prompt_text(self, turns: Sequence[Turn], tools: str = "") -> str:
        """``turns`` rendered up to where the assistant's next answer begins.

        Raises:
            DataError: the chat template refuses the conversation.
        """
        turns, tools = self._fitted(turns, tools)
        if self.has_template:
            return self._template.render(turns, tools, add_generation_prompt=True)
        between = "\n\n" if turns and turns[-1].role == "assistant" else ""
        return "".join(text for text, _ in _plain_pieces(turns, self._eos)) + between + RESPONSE

    def generation_prompt(self, turns: Sequence[Turn], tools: str = "") -> list[int]:
        """Token ids to generate an answer from: training sees the same ids before that answer."""
        begin = [] if self.has_template else self._begin
        return begin + self._tokenise([self.prompt_text(turns, tools)])["input_ids"][0]

    def encode(self, rendered: Sequence[Rendered]) -> list[Encoded]:
        """Tokenise many examples of the same form at once; tokens that lie in pieces marked true carry loss.

        A token that starts before such a piece carries none: at inference it is part of the prompt.
        """
        if not rendered:
            return []
        texts = ["".join(piece for piece, _ in each.pieces) for each in rendered]
        if rendered[0].form == "sequence":  # one objective renders all of its examples in the same form
            whole = self._tokenise(texts, add_special_tokens=True)["input_ids"]
            return [Encoded(ids, [-100] * len(ids), text, closing=self._sequence_end) for ids, text in zip(whole, texts)]
        partly = any(not marked for each in rendered for _, marked in each.pieces)
        tokens = self._tokenise(texts, return_offsets_mapping=partly)
        offsets = tokens["offset_mapping"] if partly else [[]] * len(texts)
        return [self._encoded(*each) for each in zip(rendered, texts, tokens["input_ids"], offsets)]

    def _encoded(self, rendered: Rendered, text: str, ids: list[int], offsets: Sequence[Span]) -> Encoded:
        begin = self._begin if rendered.form == "running" or not self.has_template else []
        if rendered.form == "running" and ids[-1:] != self._end:
            ids = ids + self._end
        if all(marked for _, marked in rendered.pieces):
            return Encoded(begin + ids, begin + ids, text)
        labels = [-100] * len(ids)
        for first, last in _inside(offsets, _marked_spans(rendered.pieces)):
            labels[first:last] = ids[first:last]
        return Encoded(begin + ids, [-100] * len(begin) + labels, text)

    def _fitted(self, turns: Sequence[Turn], tools: str) -> tuple[Sequence[Turn], str]:
        """The conversation as the template has places for it."""
        uses_tools = bool(tools) or any(turn.calls or turn.role == "tool" for turn in turns)
        if uses_tools and self._abilities.tools is None:
            self.notes[_NO_TOOLS] = None
            turns, tools = without_tools(turns, tools), ""
        if turns and turns[0].role == "system" and not self._abilities.system:
            self.notes[_NO_SYSTEM] = None
            turns = without_system(turns)
        return turns, tools

    @cached_property
    def _sequence_end(self) -> int:
        """How many special tokens the tokenizer puts behind a text."""
        plain, special = self.tokenizer("a", add_special_tokens=False)["input_ids"], self.tokenizer("a")["input_ids"]
        starts = [n for n in range(len(special) - len(plain) + 1) if special[n : n + len(plain)] == plain]
        return len(special) - len(plain) - starts[0] if starts else 0

    def _closing(self, turns: Sequence[Turn]) -> str:
        """The end-of-text token behind a last answer, where the template does not end turns itself."""
        return "" if self._abilities.ends_turns or turns[-1].role != "assistant" else self._eos

    def _tokenise(self, texts: list[str], *, add_special_tokens: bool = False, return_offsets_mapping: bool = False) -> Any:
        # Templates write their special tokens themselves; `verbose` would warn of every long text, which is cut later.
        return self.tokenizer(
            texts, add_special_tokens=add_special_tokens, return_offsets_mapping=return_offsets_mapping, verbose=False,
            return_attention_mask=False, return_token_type_ids=False,
        )  # fmt: skip


def _plain_pieces(turns: Sequence[Turn], eos: str) -> Iterator[tuple[str, bool]]:
    """The fallback without a chat template. Contents are stripped, so that no token spans prompt and answer."""
    for number, turn in enumerate(turns):
        if number and turns[number - 1].role == "assistant":
            yield "\n\n", False
        content = turn.content.strip()
        if turn.role == "assistant":
            yield RESPONSE, False
            yield content + eos, True
        else:
            yield f"{INSTRUCTION if turn.role == 'user' else ''}{content}\n\n", False


def _marked_spans(pieces: Sequence[tuple[str, bool]]) -> list[Span]:
    """Character spans of the pieces marked true."""
    spans, place = [], 0
    for piece, marked in pieces:
        if marked and piece:
            spans.append((place, place + len(piece)))
        place += len(piece)
    return spans


def _inside(offsets: Sequence[Span], spans: Sequence[Span]) -> Iterator[tuple[int, int]]:
    """For every span the tokens (from, to) whose characters lie in it.

    Starts and ends of tokens ascend. The last character decides which span is looked at: byte-level tokens of one character
    share its offsets, and tokenizers that trim offsets leave a whitespace token without width, behind its character.
    """
    for start, end in spans:
        first = max(bisect_left(offsets, start, key=itemgetter(0)), bisect_right(offsets, start, key=itemgetter(1)))
        yield first, max(first, bisect_right(offsets, end, key=itemgetter(1)))
