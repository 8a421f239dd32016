"""Classification: what a model says of texts, and how often it is right."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch.nn.functional import cross_entropy

from ..api import Encoded, Rendered
from ..errors import UsageError
from ..inference import Generation
from ..planner.reading import read_model
from .batches import Batch, collate
from .encoding import cut
from .engine import Chosen, Engine
from .forward import class_logits
from .precision import Precision
from .rendering import ChatRenderer


class ClassScores(NamedTuple):
    """Figures of a classifier on a set of rows.

    Attributes:
        loss: mean cross-entropy in nats over the rows.
        accuracy: share of rows whose most probable class is theirs.
        f1: mean of the classes' F1 scores (macro), see `macro_f1`.
        tokens: of the rows, padding left out.
        rows: how many.
    """

    loss: float
    accuracy: float
    f1: float
    tokens: int
    rows: int


class Judged(NamedTuple):
    """What a classifier said of some rows.

    Attributes:
        loss: cross-entropy in nats, summed over the rows.
        tokens: of the rows, padding left out.
        expected: the class of each row.
        predicted: the most probable class of each.
    """

    loss: float
    tokens: int
    expected: list[int]
    predicted: list[int]


def score_classes(model: Any, batches: Iterable[Batch], precision: Precision) -> ClassScores:
    """Score a classifier on batches of at least one row in all; the model is left in the mode it was in."""
    return scores_of([judge(model, batches, precision)])


def scores_of(parts: Iterable[Judged]) -> ClassScores:
    """The figures of all rows, which may have been judged in several places."""
    losses, tokens, expected, predicted = zip(*parts)
    wanted, got = [number for part in expected for number in part], [number for part in predicted for number in part]
    right = sum(a == b for a, b in zip(wanted, got))
    return ClassScores(sum(losses) / len(wanted), right / len(wanted), macro_f1(wanted, got), sum(tokens), len(wanted))


@torch.no_grad()
def judge(model: Any, batches: Iterable[Batch], precision: Precision) -> Judged:
    """Let a classifier judge the rows of ``batches``; the model is left in the mode it was in."""
    training = model.training
    model.eval()
    total, tokens = 0.0, 0
    expected: list[int] = []
    predicted: list[int] = []
    try:
        for batch in batches:
            with precision.autocast():
                logits = class_logits(model, batch)
            total += cross_entropy(logits, batch.targets, reduction="sum").item()
            tokens += batch.tokens
            expected += batch.targets.tolist()
            predicted += logits.argmax(-1).tolist()
    finally:
        model.train(training)
    return Judged(total, tokens, expected, predicted)


def macro_f1(expected: Sequence[int], predicted: Sequence[int]) -> float:
    """The unweighted mean of 2·tp / (2·tp + fp + fn) over every class that occurs on either side, as scikit-learn's ``average="macro"``."""
    scores = []
    for number in sorted({*expected, *predicted}):
        hits = sum(a == b == number for a, b in zip(expected, predicted))
        scores.append(2 * hits / (expected.count(number) + predicted.count(number)))
    return sum(scores) / len(scores)


def encode_text(renderer: ChatRenderer, text: str, max_length: int) -> Encoded:
    """A text as training shows it, cut to ``max_length`` tokens."""
    (whole,) = renderer.encode([Rendered(((text, False),), "sequence")])
    return cut(whole, max_length)


@torch.no_grad()
def predict(model: Any, encoded: Encoded, labels: Sequence[str], precision: Precision) -> dict[str, float]:
    """The probability of each label, the most probable first; the model is left in the mode it was in."""
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    (batch,) = collate([encoded], packed=False, pad_id=0, device=device)
    with precision.autocast():
        chances = class_logits(model, batch)[0].softmax(-1).tolist()
    model.train(training)
    return dict(sorted(zip(labels, chances), key=lambda pair: -pair[1]))


def classify(engine: Engine, text: str, adapter: Chosen = None) -> Generation:
    """What ``adapter`` (none: the base, where it was trained to classify) takes ``text`` for.

    Raises:
        NotFound: no such adapter is resident.
        UsageError: the text is empty, or the base alone is no classifier.
    """
    swap_seconds = engine.activate(adapter)
    if not engine.labels:
        raise UsageError(f"{engine.path.name} alone is no classifier", "name an adapter trained with --task seq-cls")
    if not text.strip():
        raise UsageError("the prompt is empty", "give it some text")
    started = time.perf_counter()
    encoded = encode_text(ChatRenderer(engine.tokenizer), text, read_model(engine.path).max_length - engine.virtual_tokens)
    scores = predict(engine.model, encoded, engine.labels, AS_STORED)
    label, score = next(iter(scores.items()))
    seconds = time.perf_counter() - started
    return Generation(
        text=label, tokens=0, prompt_tokens=len(encoded.input_ids), seconds=seconds, first_token_seconds=seconds, swap_seconds=swap_seconds,
        finish="end", label=label, score=score, scores=scores,
    )  # fmt: skip


AS_STORED = Precision(torch.float32, "cpu")
"""No autocast: the weights compute in the format they are stored in."""
