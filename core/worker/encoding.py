"""From examples to what training sees: rendered, tokenised, cut to length; in a stream, many at a time."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

from ..api import DataError, Encoded, Example, LossOn, Objective, Rendered, Renderer, Turn
from ..data.labels import unknown_label

_AT_ONCE = 256
"""Examples tokenised together: enough to keep the tokenizer's threads busy, few enough to hold."""


@dataclass(frozen=True, slots=True)
class EncodingOptions:
    """What decides, besides tokenizer and objective, which tokens an example becomes.

    Attributes:
        max_length: tokens; longer conversations lose their end, longer texts become several entries.
        loss_on: see `LossOn`.
        system_prompt: put before conversations that have no system message.
        labels: names of the classes, in order, where examples have labels.
    """

    max_length: int
    loss_on: LossOn = "assistant"
    system_prompt: str = ""
    labels: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class EncodedExample:
    """What one example became.

    Attributes:
        parts: entries to train on, each with a token that is predicted; none where nothing is left to learn.
        length: its tokens before it was cut or divided.
        truncated: it lost its end to ``max_length`` (running text is divided, not cut).
    """

    parts: list[Encoded]
    length: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class EncodedSet:
    """Encoded examples, in order.

    Attributes:
        truncated: conversations and labelled texts that lost their end to ``max_length`` (running text is divided, not cut).
        dropped: examples left out because no token that carries loss was left.
    """

    encoded: list[Encoded]
    truncated: int
    dropped: int

    def __len__(self) -> int:
        return len(self.encoded)

    def __iter__(self) -> Iterator[Encoded]:
        return iter(self.encoded)


def encode_examples(examples: Iterable[Example], renderer: Renderer, objective: Objective, options: EncodingOptions) -> EncodedSet:
    """Encode examples as training sees them, before packing, all in memory.

    Raises:
        DataError: an example cannot be rendered or has an unknown label (its file and line are named), or nothing is left to learn from.
    """
    encoded: list[Encoded] = []
    truncated = dropped = 0
    for each in encode_stream(examples, renderer, objective, options):
        encoded += each.parts
        truncated += each.truncated
        dropped += not each.parts
    if not encoded:
        raise nothing_left(dropped, options.max_length)
    return EncodedSet(encoded, truncated, dropped)


def nothing_left(dropped: int, max_length: int) -> DataError:
    """What to say where no example has a token left to learn from."""
    return DataError(
        f"none of the {dropped} examples has a token left to learn from within max_length {max_length}",
        "raise max_length" if dropped else "give at least one example",
    )


def encode_stream(
    examples: Iterable[Example], renderer: Renderer, objective: Objective, options: EncodingOptions
) -> Iterator[EncodedExample]:
    """What each example becomes, in order; only a few of them are in memory at a time.

    Raises:
        DataError: an example cannot be rendered or has an unknown label (its file and line are named).
    """
    remaining = iter(examples)
    while chunk := list(islice(remaining, _AT_ONCE)):
        rendered = [_render(example, renderer, objective, options) for example in chunk]
        for example, whole in zip(chunk, renderer.encode(rendered)):
            yield _fitted(example, whole, options)


def _render(example: Example, renderer: Renderer, objective: Objective, options: EncodingOptions) -> Rendered:
    if options.system_prompt and example.turns and example.turns[0].role != "system":
        example = replace(example, turns=(Turn("system", options.system_prompt), *example.turns))
    try:
        return objective.render(example, renderer, options.loss_on)
    except DataError as problem:
        raise DataError(f"{example.source}: {problem.message}", problem.hint) from problem


def _fitted(example: Example, whole: Encoded, options: EncodingOptions) -> EncodedExample:
    """Cut to length, its class numbered."""
    if example.label is not None:
        if example.label not in options.labels:
            raise unknown_label(example, options.labels)
        whole = replace(whole, label=options.labels.index(example.label))
    length, runs_on = len(whole.input_ids), bool(example.text) and example.label is None
    parts = list(divide(whole, options.max_length)) if runs_on else [cut(whole, options.max_length)]
    return EncodedExample([part for part in parts if learns(part)], length, not runs_on and length > options.max_length)


def cut(whole: Encoded, max_length: int) -> Encoded:
    """The first ``max_length`` tokens, closing ones kept; without ``text`` where that is not all."""
    length = len(whole.input_ids)
    if length <= max_length:
        return whole
    kept = [*range(max_length - whole.closing), *range(length - whole.closing, length)]
    return replace(whole, input_ids=[whole.input_ids[i] for i in kept], labels=[whole.labels[i] for i in kept], text="")


def divide(whole: Encoded, max_length: int) -> Iterator[Encoded]:
    """Consecutive stretches of at most ``max_length`` tokens; without ``text`` where there are several."""
    if len(whole.input_ids) <= max_length:
        yield whole
        return
    for start in range(0, len(whole.input_ids), max_length):
        end = start + max_length
        yield replace(whole, input_ids=whole.input_ids[start:end], labels=whole.labels[start:end], text="")


def learns(encoded: Encoded) -> bool:
    """Whether it has a class, or any token that carries loss; the first cannot, as nothing comes before it to predict it from."""
    return encoded.label is not None or any(label != -100 for label in encoded.labels[1:])
