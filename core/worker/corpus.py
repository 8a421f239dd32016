"""The rows of a training run: read, split, rendered and tokenised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from ..config import load_settings
from ..data.labels import label_names
from ..data.shaping import stream
from ..paths import Home
from ..runs.spec import TrainRequest
from ..training import TrainingOptions
from .encoding import EncodingOptions, nothing_left
from .rendering import ChatRenderer
from .tokencache import DataSource, OnRows, TokenCache
from .tokenstore import Entries, TokenStore


@dataclass(frozen=True, slots=True)
class Corpus:
    """What a run trains and evaluates on.

    Attributes:
        train: at least one example, each with at least one token (or its class) that is predicted.
        evaluation: empty when there is nothing to evaluate on.
        rows: rows read for training, the evaluation split included.
        objective: name of the objective plugin.
        labels: names of the classes, in order; empty where there are none.
        renderer: also renders the sample prompts.
        warnings: sentences about rows that were cut, left out or shown differently.
        reused: an earlier run had tokenised the training data already.
    """

    train: Entries
    evaluation: Entries
    rows: int
    objective: str
    renderer: ChatRenderer
    warnings: list[str]
    labels: list[str]
    reused: bool


def load_corpus(request: TrainRequest, options: TrainingOptions, tokenizer: Any, home: Home, on_rows: OnRows | None = None) -> Corpus:
    """Read and encode the data of a run, or take what an earlier run made of it.

    Raises:
        DataError: a row is malformed or of a class that is not trained (file and line), or nothing is left to learn from.
        NotFound: a file does not exist.
    """
    renderer = ChatRenderer(tokenizer)
    labels = request.labels
    if request.task == "seq-cls" and not labels:
        labels = label_names(stream(request.data, request.columns, request.objective, request.task))
    encoding = EncodingOptions(options.max_length, options.loss_on, options.system_prompt, tuple(labels))
    cache = TokenCache(home.tokenised, load_settings())
    found = cache.tokenised(DataSource(request.data, request.columns, request.objective, request.task), renderer, encoding, on_rows)
    whole = found.store
    if request.eval_data:
        source = DataSource(request.eval_data, request.columns, whole.facts.objective, request.task)
        held_out = cache.tokenised(source, renderer, encoding, on_rows).store
        trains, evaluates = everything(whole.facts.examples), everything(held_out.facts.examples)
    else:
        held_out = whole
        evaluates = split(whole.facts.examples, request.eval_split, request.seed if request.split_seed is None else request.split_seed)
        trains = ~evaluates
    train, evaluation = whole.entries(trains), held_out.entries(evaluates)
    if not train or (request.eval_data and not evaluation):
        raise nothing_left(int((evaluates if train else trains).sum()), options.max_length)
    return Corpus(
        train=train,
        evaluation=evaluation,
        rows=whole.facts.examples,
        objective=whole.facts.objective,
        renderer=renderer,
        warnings=[
            *whole.facts.notes,
            *_complaints(whole, trains, train, "training", options.max_length),
            *_complaints(held_out, evaluates, evaluation, "evaluation", options.max_length),
            *(["the cache of tokenised data was damaged and made again"] if found.damaged else []),
        ],
        labels=labels,
        reused=found.reused,
    )


def everything(examples: int) -> Any:
    """(examples,) booleans, all true."""
    return torch.ones(examples, dtype=torch.bool).numpy()


def split(examples: int, share: float, seed: int) -> Any:
    """Hold out ``share`` of the examples, the same ones for the same seed; none where the share is less than half an example.

    Returns:
        (examples,) booleans: whether each is held out; at least one is not.
    """
    count = min(round(examples * share), examples - 1)
    order = torch.randperm(examples, generator=torch.Generator().manual_seed(seed))
    held_out = torch.zeros(examples, dtype=torch.bool)
    held_out[order[:count]] = True
    return held_out.numpy()


def _complaints(store: TokenStore, chosen: Any, entries: Entries, what: str, max_length: int) -> list[str]:
    """What was cut and left out of the ``chosen`` examples of a store, which became ``entries``."""
    truncated, dropped = int(chosen[store.truncated].sum()), int(chosen.sum()) - entries.examples
    sentences = []
    if truncated:
        sentences.append(f"{truncated} {what} examples were cut to max_length {max_length}")
    if dropped:
        sentences.append(f"{dropped} {what} examples were left out: no answer remains within max_length {max_length}")
    return sentences
