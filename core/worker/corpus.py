"""The rows of a training run: read, split, rendered and tokenised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from .. import registry
from ..api import Encoded, Example, Objective, Renderer
from ..data.labels import label_names
from ..data.shaping import examples as read_examples
from ..runs.spec import TrainRequest
from ..training import TrainingOptions
from .batches import loss_tokens
from .encoding import EncodedSet, EncodingOptions, encode_examples
from .rendering import ChatRenderer


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a run trains and evaluates on.

    Attributes:
        train: at least one example, each with at least one token that is predicted.
        evaluation: empty when there is nothing to evaluate on.
        rows: rows read for training, the evaluation split included.
        objective: name of the objective plugin.
        labels: names of the classes, in order; empty where there are none.
        renderer: also renders the sample prompts.
        warnings: sentences about rows that were cut or left out.
    """

    train: list[Encoded]
    evaluation: list[Encoded]
    rows: int
    objective: str
    renderer: ChatRenderer
    warnings: list[str]
    labels: list[str]


def load_corpus(request: TrainRequest, options: TrainingOptions, tokenizer: Any) -> Corpus:
    """Read and encode the data of a run.

    Raises:
        DataError: a row is malformed or of a class that is not trained (file and line), or nothing is left to learn from.
        NotFound: a file does not exist.
    """
    renderer = ChatRenderer(tokenizer)
    dataset = read_examples(request.data, request.columns, request.objective, task=request.task)
    labels = request.labels or (label_names(dataset) if request.task == "seq-cls" else [])
    train, evaluation = list(dataset), []
    if request.eval_data:
        evaluation = list(read_examples(request.eval_data, request.columns, dataset.objective, task=request.task))
    else:
        seed = request.seed if request.split_seed is None else request.split_seed
        train, evaluation = split(train, request.eval_split, seed)
    objective = registry.load("objectives", dataset.objective)
    encoded = _encode(train, renderer, objective, options, labels)
    held_out = _encode(evaluation, renderer, objective, options, labels) if evaluation else EncodedSet([], 0, 0)
    return Corpus(
        train=[example for example in encoded.encoded if loss_tokens(example)],
        evaluation=[example for example in held_out.encoded if loss_tokens(example)],
        rows=len(dataset),
        objective=dataset.objective,
        renderer=renderer,
        warnings=[*_complaints(encoded, "training", options.max_length), *_complaints(held_out, "evaluation", options.max_length)],
        labels=labels,
    )


def split(examples: list[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Hold out ``share`` of the examples, the same ones for the same seed; none where the share is less than half an example.

    Returns:
        Training and evaluation examples, in their original order; at least one trains.
    """
    count = min(round(len(examples) * share), len(examples) - 1)
    order = torch.randperm(len(examples), generator=torch.Generator().manual_seed(seed)).tolist()
    held_out = set(order[:count])
    return (
        [example for number, example in enumerate(examples) if number not in held_out],
        [example for number, example in enumerate(examples) if number in held_out],
    )


def _encode(examples: list[Example], renderer: Renderer, objective: Objective, options: TrainingOptions, labels: list[str]) -> EncodedSet:
    return encode_examples(
        examples, renderer, objective, EncodingOptions(options.max_length, options.loss_on, options.system_prompt, tuple(labels))
    )


def _complaints(encoded: EncodedSet, what: str, max_length: int) -> list[str]:
    sentences = []
    if encoded.truncated:
        sentences.append(f"{encoded.truncated} {what} examples were cut to max_length {max_length}")
    if encoded.dropped:
        sentences.append(f"{encoded.dropped} {what} examples were left out: no answer remains within max_length {max_length}")
    return sentences
