"""From examples to what training sees: rendered, tokenised, cut to length."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ..api import DataError, Encoded, Example, Objective, Renderer, Turn
from ..data.labels import unknown_label


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


def encode_examples(
    examples: Iterable[Example],
    renderer: Renderer,
    objective: Objective,
    max_length: int,
    *,
    completion_only: bool,
    system_prompt: str = "",
    labels: Sequence[str] = (),
) -> EncodedSet:
    """Encode examples as training sees them, before packing.

    Args:
        max_length: tokens; longer conversations lose their end, longer texts become several entries.
        completion_only: loss on answers only, where the objective has answers.
        system_prompt: put before conversations that have no system message.
        labels: names of the classes, in order, where examples have labels.

    Raises:
        DataError: an example cannot be rendered or has an unknown label (its file and line are named), or nothing is left to learn from.
    """
    numbers = {name: number for number, name in enumerate(labels)}
    encoded: list[Encoded] = []
    truncated = dropped = 0
    for example in examples:
        whole = encode_whole(example, renderer, objective, completion_only=completion_only, system_prompt=system_prompt)
        if example.label is not None:
            if example.label not in numbers:
                raise unknown_label(example, labels)
            whole = replace(whole, label=numbers[example.label])
        runs_on = bool(example.text) and example.label is None
        parts = list(divide(whole, max_length)) if runs_on else [cut(whole, max_length)]
        truncated += not runs_on and len(whole.input_ids) > max_length
        kept = [part for part in parts if learns(part)]
        dropped += not kept
        encoded += kept
    if not encoded:
        raise DataError(
            f"none of the {dropped} examples has a token left to learn from within max_length {max_length}",
            "raise max_length" if dropped else "give at least one example",
        )
    return EncodedSet(encoded, truncated, dropped)


def encode_whole(example: Example, renderer: Renderer, objective: Objective, *, completion_only: bool, system_prompt: str = "") -> Encoded:
    """Encode one example at full length.

    Raises:
        DataError: it cannot be rendered; the message starts with its source.
    """
    if system_prompt and example.turns and example.turns[0].role != "system":
        example = replace(example, turns=(Turn("system", system_prompt), *example.turns))
    try:
        return objective.encode(example, renderer, completion_only=completion_only)
    except DataError as problem:
        raise DataError(f"{example.source}: {problem.message}", problem.hint) from problem


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
