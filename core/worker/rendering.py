"""Conversations as text and tokens, with one model's tokenizer and chat template; the same for training and inference.

With a chat template the text is what ``tokenizer.apply_chat_template`` gives, and the tokens are those of the whole text at
once. An answer starts where the generation prompt ends, so that the model learns to continue what inference shows it, and
ends with its turn, end-of-turn token included, so that it learns to stop.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from ..api import Encoded, Refused, Renderer, Turn
from .templates import Span, answer_spans, apply_template

INSTRUCTION = "### Instruction:\n"
RESPONSE = "### Response:\n"


class ChatRenderer(Renderer):
    """Renders with ``tokenizer``'s chat template, or with ``### Instruction:`` / ``### Response:`` where it has none.

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
        self._eos: str = tokenizer.eos_token or ""
        self._end: list[int] = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
        first = tokenizer("a")["input_ids"][:1]
        self._begin: list[int] = first if first == [tokenizer.bos_token_id] else []

    def conversation(self, turns: Sequence[Turn]) -> Iterator[tuple[str, bool]]:
        """The rendered conversation in pieces; joined, they are the whole text.

        Raises:
            DataError: the chat template refuses the conversation, or does not tell where the answers are.
        """
        if not self.has_template:
            yield from _plain_pieces(turns, self._eos)
            return
        text = apply_template(self.tokenizer, turns)
        place = 0
        for start, end in answer_spans(self.tokenizer, turns, text):
            if start > place:
                yield text[place:start], False
            yield text[start:end], True
            place = end
        if place < len(text):
            yield text[place:], False

    def whole(self, turns: Sequence[Turn]) -> str:
        """The rendered conversation as one text.

        Raises:
            DataError: the chat template refuses the conversation.
        """
        return apply_template(self.tokenizer, turns) if self.has_template else super().whole(turns)

    def prompt_text(self, turns: Sequence[Turn]) -> str:
        """``turns`` rendered up to where the assistant's next answer begins.

        Raises:
            DataError: the chat template refuses the conversation.
        """
        if self.has_template:
            return apply_template(self.tokenizer, turns, add_generation_prompt=True)
        between = "\n\n" if turns and turns[-1].role == "assistant" else ""
        return "".join(text for text, _ in _plain_pieces(turns, self._eos)) + between + RESPONSE

    def generation_prompt(self, turns: Sequence[Turn]) -> list[int]:
        """Token ids to generate an answer from: training sees the same ids before that answer."""
        begin = [] if self.has_template else self._begin
        return begin + self._tokenise(self.prompt_text(turns))["input_ids"]

    def encode_pieces(self, pieces: Sequence[tuple[str, bool]]) -> Encoded:
        """Tokenise the joined pieces; tokens that lie in pieces marked true carry loss.

        A token that starts before such a piece carries none: at inference it is part of the prompt.
        """
        text = "".join(piece for piece, _ in pieces)
        tokens = self._tokenise(text, return_offsets_mapping=True)
        begin = [] if self.has_template else self._begin
        ids = tokens["input_ids"]
        carries = _inside(tokens["offset_mapping"], _marked_spans(pieces))
        labels = [token if learned else -100 for token, learned in zip(ids, carries)]
        whole = bool(pieces) and all(marked for _, marked in pieces)
        return Encoded(begin + ids, (begin if whole else [-100] * len(begin)) + labels, text)

    def encode_text(self, text: str) -> Encoded:
        """Tokenise running text: beginning-of-text token where the model has one, end-of-text token; all carry loss."""
        ids = self._begin + self._tokenise(text)["input_ids"]
        if ids[-1:] != self._end:
            ids += self._end
        return Encoded(ids, list(ids), text)

    def encode_sequence(self, text: str) -> Encoded:
        """Tokenise a text to classify exactly as ``tokenizer(text)`` does: an encoder's ``[CLS]`` and ``[SEP]`` included."""
        ids = self.tokenizer(text, verbose=False)["input_ids"]
        return Encoded(ids, [-100] * len(ids), text, closing=self._closing)

    @cached_property
    def _closing(self) -> int:
        """How many special tokens the tokenizer puts behind a text."""
        plain, special = self.tokenizer("a", add_special_tokens=False)["input_ids"], self.tokenizer("a")["input_ids"]
        starts = [n for n in range(len(special) - len(plain) + 1) if special[n : n + len(plain)] == plain]
        return len(special) - len(plain) - starts[0] if starts else 0

    def _tokenise(self, text: str, **arguments: Any) -> Any:
        # Templates write their special tokens themselves; `verbose` would warn of every long text, which is cut later.
        return self.tokenizer(text, add_special_tokens=False, verbose=False, **arguments)


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


def _inside(offsets: Sequence[Span], spans: Sequence[Span]) -> Iterator[bool]:
    """For every token, whether its characters lie in one of the (ascending) spans.

    The last character decides which span is looked at: byte-level tokens of one character share its offsets, and
    tokenizers that trim offsets leave a whitespace token without width, behind its character.
    """
    remaining = iter(spans)
    span = next(remaining, None)
    for start, end in offsets:
        while span is not None and end > span[1]:
            span = next(remaining, None)
        yield span is not None and span[0] <= start and end > span[0]
