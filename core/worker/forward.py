"""One forward pass of a model to its loss, with logits only where there is loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import cache
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from .batches import Batch
from .precision import Precision


@cache
def _keeps_positions(architecture: type) -> bool:
    return "logits_to_keep" in inspect.signature(architecture.forward).parameters  # pyright: ignore[reportAttributeAccessIssue]


def takes_positions_to_keep(model: Any) -> bool:
    """Whether the architecture can compute its output head at chosen positions only."""
    return _keeps_positions(type(base_of(model)))


def model_arguments(batch: Batch) -> dict[str, Any]:
    """What the model is called with for a batch."""
    arguments: dict[str, Any] = {"input_ids": batch.input_ids, "position_ids": batch.position_ids, "use_cache": False}
    if batch.attention_mask is not None:
        arguments["attention_mask"] = batch.attention_mask
    if batch.document_lengths is not None:
        arguments["document_lengths"] = batch.document_lengths
    return arguments


def summed_loss(model: Any, batch: Batch) -> torch.Tensor:
    """Cross-entropy in float32, summed over the batch's loss tokens (or classified rows): a scalar."""
    if batch.predicts is None:
        return cross_entropy(class_logits(model, batch), batch.targets, reduction="sum")
    if takes_positions_to_keep(model):
        logits = model(**model_arguments(batch), logits_to_keep=batch.predicts).logits
    else:
        logits = model(**model_arguments(batch)).logits[batch.predicts]
    return cross_entropy(logits.reshape(-1, logits.shape[-1]).float(), batch.targets, reduction="sum")


def class_logits(model: Any, batch: Batch) -> torch.Tensor:
    """What a classifier says of each row: (rows, classes), float32.

    Rows are padded on the right, so positions count themselves; not every architecture takes them.
    """
    arguments = {"input_ids": batch.input_ids, "attention_mask": batch.attention_mask}
    return model(**{name: value for name, value in arguments.items() if value is not None}).logits.float()


def base_of(model: Any) -> Any:
    """The transformers model inside a model that a method prepared."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


@torch.no_grad()
def total_loss(model: Any, loss: Callable[[Batch], torch.Tensor], batches: Iterable[Batch], precision: Precision) -> tuple[float, int]:
    """The summed loss of all batches, and their loss tokens; the model is left as it was."""
    training = model.training
    model.eval()
    total, count = 0.0, 0
    for batch in batches:
        with precision.autocast():
            total += float(loss(batch))
        count += len(batch.targets)
    model.train(training)
    return total, count
