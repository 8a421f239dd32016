"""Which examples an optimizer step sees, and how they are laid out for the model.

The order is a pure function of seed and step, so that a resumed run sees what an undisturbed one would. Packed, a micro-batch
is one row of documents end to end; padded, its examples are grouped by length so that little is wasted. Either way the same
examples give the same loss and gradient.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch

from ..api import Encoded
from ..planner.workload import padded_groups

IGNORED = -100
"""Label of tokens that carry no loss."""

_ROW_MULTIPLE = 64
"""A packed row is filled up to a multiple of this. Kernels are built and kept per shape: with a length of its own in every
step, memory grew from 100 to 450 MB within 40 steps of the embedded model; filled up, to half of that."""


@dataclass(frozen=True, slots=True)
class Batch:
    """One forward pass.

    Attributes:
        input_ids: (rows, columns) token ids.
        position_ids: (rows, columns), restarting with every document.
        attention_mask: (rows, columns), 1 for tokens and 0 for padding; none where nothing is padded.
        document_lengths: of a packed row; none for padded rows.
        predicts: (rows, columns) booleans: the positions whose next token carries loss; none where rows are classified.
        targets: (loss tokens,) those next tokens, row by row; or (rows,) classes.
        tokens: tokens without padding.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    attention_mask: torch.Tensor | None
    document_lengths: list[int] | None
    predicts: torch.Tensor | None
    targets: torch.Tensor
    tokens: int


def loss_tokens(example: Encoded) -> int:
    """What of an example is predicted: its class, or all tokens with loss but the first one, which has nothing before it."""
    return 1 if example.label is not None else sum(label != IGNORED for label in example.labels[1:])


@dataclass(frozen=True)
class Schedule:
    """Which examples belong to which step: a fresh permutation every epoch, the last micro-batch and step of it may be smaller.

    Several processes deal the examples of a step out among them, one by one.

    Attributes:
        examples: how many there are.
        batch_size: examples in a micro-batch.
        accumulation: micro-batches in a step, of each process.
        processes: that train together.
        rank: of this one.
    """

    examples: int
    batch_size: int
    accumulation: int
    seed: int
    processes: int = 1
    rank: int = 0

    @property
    def examples_per_step(self) -> int:
        """Examples of an optimizer step, over all processes."""
        return self.batch_size * self.accumulation * self.processes

    @property
    def steps_per_epoch(self) -> int:
        """Optimizer steps in one pass over the data."""
        return math.ceil(self.examples / self.examples_per_step)

    def total_steps(self, max_steps: int, epochs: float) -> int:
        """Steps to train: ``max_steps``, or ``epochs`` passes when that is not positive; at least one."""
        return max_steps if max_steps > 0 else max(1, math.ceil(epochs * self.steps_per_epoch))

    def step(self, index: int) -> list[list[int]]:
        """This process's micro-batches of step ``index`` (from 0): example numbers; none where the step has fewer than processes."""
        epoch, place = divmod(index, self.steps_per_epoch)
        order = _order(self.examples, self.seed, epoch)
        start = place * self.examples_per_step
        chosen = order[start : start + self.examples_per_step][self.rank :: self.processes].tolist()
        return [chosen[i : i + self.batch_size] for i in range(0, len(chosen), self.batch_size)]


@lru_cache(maxsize=2)
def _order(examples: int, seed: int, epoch: int) -> torch.Tensor:
    """The permutation of an epoch; kept, as every step of the epoch asks for it."""
    return torch.randperm(examples, generator=torch.Generator().manual_seed(seed * 1_000_003 + epoch))


def collate(examples: Sequence[Encoded], *, packed: bool, pad_id: int, device: torch.device) -> list[Batch]:
    """Lay out a micro-batch: one packed row, or groups of padded rows of similar length."""
    if packed:
        return [_packed(examples, pad_id, device)]
    groups = padded_groups([len(example.input_ids) for example in examples])
    return [_padded([examples[number] for number in group], pad_id, device) for group in groups]


def in_batches(examples: Sequence[Encoded], size: int, *, packed: bool, pad_id: int, device: torch.device) -> Iterator[Batch]:
    """All examples, longest first, ``size`` at a time: for evaluation, where order does not matter."""
    for batches in in_rounds(examples, size, packed=packed, pad_id=pad_id, device=device):
        yield from batches


def in_rounds(
    examples: Sequence[Encoded], size: int, *, packed: bool, pad_id: int, device: torch.device, processes: int = 1, rank: int = 0
) -> Iterator[list[Batch]]:
    """As `in_batches`, shared among processes: the batches of one of them, round by round. All have as many rounds; in the last
    one some may have nothing."""
    lengths = lengths_of(examples)
    ordered = sorted(range(len(examples)), key=lengths.__getitem__, reverse=True)
    for start in range(0, len(ordered), size * processes):
        mine = start + rank * size
        chosen = [examples[number] for number in ordered[mine : mine + size]]
        yield collate(chosen, packed=packed, pad_id=pad_id, device=device) if chosen else []


def lengths_of(examples: Sequence[Encoded]) -> Sequence[int]:
    """Tokens of every example; those of a store are not read for it."""
    known = getattr(examples, "lengths", None)
    return [len(example.input_ids) for example in examples] if known is None else known


def _packed(examples: Sequence[Encoded], pad_id: int, device: torch.device) -> Batch:
    """The documents end to end; a last one of padding, without loss, fills the row up."""
    tokens = sum(len(example.input_ids) for example in examples)
    gap = -tokens % _ROW_MULTIPLE
    documents = [*examples, Encoded([pad_id] * gap, [IGNORED] * gap)] if gap else examples
    lengths = [len(document.input_ids) for document in documents]
    shifted = [label for document in documents for label in (*document.labels[1:], IGNORED)]
    return _batch(
        input_ids=[[token for document in documents for token in document.input_ids]],
        position_ids=[[position for length in lengths for position in range(length)]],
        shifted=[shifted],
        lengths=lengths,
        device=device,
        tokens=tokens,
    )


def _padded(examples: Sequence[Encoded], pad_id: int, device: torch.device) -> Batch:
    """Rows padded on the right: causal attention never looks at padding, whatever the model makes of the mask."""
    lengths = [len(example.input_ids) for example in examples]
    width = max(lengths)
    gaps = [width - length for length in lengths]
    return _batch(
        input_ids=[[*example.input_ids, *[pad_id] * gap] for example, gap in zip(examples, gaps)],
        position_ids=[list(range(width))] * len(examples),
        shifted=[[*example.labels[1:], *[IGNORED] * (gap + 1)] for example, gap in zip(examples, gaps)],
        lengths=None,
        device=device,
        mask=[[1] * length + [0] * gap for length, gap in zip(lengths, gaps)] if any(gaps) else None,
        tokens=sum(lengths),
        classes=[example.label for example in examples if example.label is not None],
    )


def _batch(
    *,
    input_ids: list[list[int]],
    position_ids: list[list[int]],
    shifted: list[list[int]],
    lengths: list[int] | None,
    device: torch.device,
    tokens: int,
    mask: list[list[int]] | None = None,
    classes: Sequence[int] = (),
) -> Batch:
    labels = torch.tensor(shifted)
    predicts = labels != IGNORED
    targets = torch.tensor(classes) if classes else labels[predicts]
    return Batch(
        input_ids=torch.tensor(input_ids).to(device, non_blocking=True),
        position_ids=torch.tensor(position_ids).to(device, non_blocking=True),
        attention_mask=None if mask is None else torch.tensor(mask).to(device, non_blocking=True),
        document_lengths=lengths,
        predicts=None if classes else predicts.to(device, non_blocking=True),
        targets=targets.to(device, non_blocking=True),
        tokens=tokens,
    )
