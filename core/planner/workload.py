"""How many tokens the largest micro-batch holds: the size that activations and logits grow with."""

from __future__ import annotations

import random
import statistics
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from ..api import Example, LossOn
from ..training import TrainingOptions

_BYTES_PER_TOKEN = 2.5
"""Of UTF-8 text, rather few than many: 3 to 4 for English under large vocabularies, about 3 (one character) for Chinese."""

_TEMPLATE_TOKENS = 8
"""What a chat template puts around a turn."""


_WASTE, _WASTE_TOKENS = 0.1, 32
"""Padding may be this share of a padded group, or this many tokens, whichever is more."""

_DRAWS = 64
"""Micro-batches that are looked at to find the largest padded group."""

_LENGTH_STEP = 64
"""The worker fills documents up to multiples of this on CPUs (``core/worker/attention.py``)."""


@dataclass(frozen=True, slots=True)
class Workload:
    """The largest micro-batch.

    Attributes:
        tokens: of all its examples.
        loss_tokens: those that carry loss; only they get logits.
        longest: tokens of its longest example.
        attended: mean tokens of the example that a token is in; the sum of squared lengths is ``tokens * attended``.
        distinct: different lengths, in steps of 64 tokens, that the whole run meets; CPUs keep kernels and heap blocks for each.
        packed: whether the examples lie end to end; else they are padded, in groups of similar length.
        passes: such groups in a micro-batch; the other figures are those of the largest.
        examples: in that group, or in the packed row.
        gaps: whether they differ in length, so that a mask tells where the padding is.
    """

    tokens: int
    loss_tokens: int
    longest: int
    attended: int
    distinct: int = 1
    packed: bool = True
    passes: int = 1
    examples: int = 1
    gaps: bool = False

    def longer(self, tokens: int) -> Workload:
        """The same with ``tokens`` more in front of every example."""
        return replace(self, tokens=self.tokens + tokens * self.examples, longest=self.longest + tokens, attended=self.attended + tokens)


def padded_groups(lengths: Sequence[int]) -> list[list[int]]:
    """How a micro-batch that is not packed is made: numbers of examples of similar length together, longest first, so that padding
    stays small."""
    groups: list[list[int]] = []
    padding = longest = 0
    for number in sorted(range(len(lengths)), key=lambda number: -lengths[number]):
        gap = longest - lengths[number]
        if groups and padding + gap <= max(_WASTE_TOKENS, _WASTE * longest * (len(groups[-1]) + 1)):
            groups[-1].append(number)
            padding += gap
        else:
            groups.append([number])
            longest, padding = lengths[number], 0
    return groups


def padded(load: Workload, lengths: Sequence[int], loss_lengths: Sequence[int], batch: int) -> Workload:
    """The largest padded group instead of the packed row: of many micro-batches drawn at random, always the same ones."""
    chance = random.Random(0)
    groups = []
    for _ in range(_DRAWS):
        drawn = [chance.randrange(len(lengths)) for _ in range(batch)]
        parts = padded_groups([lengths[number] for number in drawn])
        groups += [([drawn[place] for place in part], len(parts)) for part in parts]
    largest, passes = max(groups, key=lambda group: len(group[0]) * max(lengths[number] for number in group[0]))
    width = max(lengths[number] for number in largest)
    loss = min(len(largest) * width, sum(loss_lengths[number] for number in largest))
    return replace(
        load, tokens=len(largest) * width, loss_tokens=loss, longest=width, attended=width, packed=False, passes=passes,
        examples=len(largest), gaps=any(lengths[number] != width for number in largest),
    )  # fmt: skip


def largest_batch(
    training: TrainingOptions, lengths: Sequence[int] | None = None, loss_lengths: Sequence[int] | None = None, *, packed: bool = True
) -> Workload:
    """The largest micro-batch that training will meet.

    Args:
        lengths: tokens of every training example; none: every example is taken to be ``max_length`` long.
        loss_lengths: loss tokens of every example, in the same order; none: all of them.
    """
    batch = training.per_device_train_batch_size
    if not lengths:
        longest = training.max_length
        return Workload(batch * longest, batch * longest, longest, longest, _steps(longest), packed, 1, batch)
    cut = [min(length, training.max_length) for length in lengths]
    tokens = _expected_maximum(cut, batch)
    if loss_lengths is None:
        loss = tokens
    else:
        loss = min(tokens, _expected_maximum([min(length, training.max_length) for length in loss_lengths], batch))
    attended = sum(length * length for length in cut) // max(1, sum(cut))
    load = Workload(tokens, loss, max(cut), attended, _expected_distinct(cut, training), True, 1, batch)
    if packed:
        return load
    return padded(load, cut, [min(length, training.max_length) for length in loss_lengths or lengths], batch)


def _steps(length: int) -> int:
    return -(-length // _LENGTH_STEP)


def _expected_distinct(sizes: Sequence[int], training: TrainingOptions) -> int:
    """How many different sizes, in steps of 64 tokens, the run is likely to draw."""
    drawn = training.max_steps * training.per_device_train_batch_size * training.gradient_accumulation_steps
    if training.max_steps <= 0:
        drawn = round(len(sizes) * training.num_train_epochs / training.num_processes)
    counts = Counter(_steps(size) for size in sizes).values()
    return max(1, round(sum(1 - (1 - count / len(sizes)) ** drawn for count in counts)))


def _expected_maximum(sizes: Sequence[int], batch: int) -> int:
    """The largest sum of ``batch`` sizes drawn at random that a run is likely to see: mean plus three deviations of the
    sum, at most the sum of the largest ones."""
    worst = sum(sorted(sizes, reverse=True)[:batch])
    likely = batch * statistics.fmean(sizes) + 3 * statistics.pstdev(sizes) * batch**0.5
    return max(1, min(worst, round(likely)))


def guess_lengths(examples: Iterable[Example], *, loss_on: LossOn = "assistant") -> tuple[list[int], list[int]]:
    """Token lengths guessed from text alone, for a plan before a tokenizer is at hand; rather too many than too few.

    Args:
        loss_on: which turns carry loss.

    Returns:
        (tokens, loss tokens) of every example.
    """
    lengths, losses = [], []
    for example in examples:
        pieces = _pieces(example, loss_on)
        sizes = [(round(len(text.encode()) / _BYTES_PER_TOKEN) + _TEMPLATE_TOKENS, carries_loss) for text, carries_loss in pieces]
        lengths.append(sum(size for size, _ in sizes))
        losses.append(sum(size for size, carries_loss in sizes if carries_loss))
    return lengths, losses


def _pieces(example: Example, loss_on: LossOn) -> list[tuple[str, bool]]:
    """Text of an example, with whether it carries loss."""
    if not example.turns:
        return [(example.text, True)]
    answers = [number for number, turn in enumerate(example.turns) if turn.role == "assistant"]
    learned = {"assistant": answers, "last": answers[-1:], "all": range(len(example.turns))}[loss_on]
    said = ["\n".join([turn.content, *(call.name + call.arguments for call in turn.calls)]) for turn in example.turns]
    shown = [(example.tools, loss_on == "all")] if example.tools else []
    return shown + [(text, number in learned) for number, text in enumerate(said)]
