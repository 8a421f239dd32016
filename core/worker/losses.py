"""The loss of a language model without its logits: the output head and the cross-entropy in slices, forward and backward at once.

The logits of a batch, (loss tokens × vocabulary) in float32 with their gradient, are the largest tensors of training by far.
Here a slice of them is made, turned into loss and gradient, and forgotten before the next one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import nn

from ..planner.activations import AFTER_THE_HEAD
from .batches import Batch
from .forward import base_of, model_arguments, summed_loss, takes_positions_to_keep
from .precision import Precision

_SLICE_BYTES = 16 * 2**20
"""Of a slice of float32 logits."""


class LossFunction:
    """Computes a batch's summed cross-entropy, sliced where the model's head allows it.

    Args:
        model: as the method prepared it.
        trial: whether to try if anything comes after the head; else the model's configuration decides, for models without contents.

    Attributes:
        sliced: whether the head is an ordinary linear layer with nothing after it, as a trial on a few tokens shows.
    """

    def __init__(self, model: Any, precision: Precision, *, trial: bool = True) -> None:
        self._model = model
        self._head = base_of(model).get_output_embeddings()
        is_plain = self._is_plain if trial else self._looks_plain
        with precision.autocast():
            self.sliced = type(self._head) is nn.Linear and takes_positions_to_keep(model) and is_plain()

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The loss summed over the batch's loss tokens: a float32 scalar. Call it under autocast."""
        if not self.sliced:
            return summed_loss(self._model, batch)
        with self._bare_head():
            hidden = self._model(**model_arguments(batch), logits_to_keep=batch.predicts).logits
        kind = hidden.device.type
        dtype = torch.get_autocast_dtype(kind) if torch.is_autocast_enabled(kind) else hidden.dtype
        return _SlicedLoss.apply(hidden.reshape(-1, hidden.shape[-1]), self._head.weight, self._head.bias, batch.targets, dtype)  # pyright: ignore[reportReturnType]

    @contextlib.contextmanager
    def _bare_head(self) -> Iterator[None]:
        """The head hands its input through, so that the model returns hidden states."""
        self._head.forward = lambda hidden: hidden
        try:
            yield
        finally:
            del self._head.forward

    def _looks_plain(self) -> bool:
        config = base_of(self._model).config
        return not any(getattr(config, name, None) for name in AFTER_THE_HEAD)

    @torch.no_grad()
    def _is_plain(self) -> bool:
        training = self._model.training
        self._model.eval()
        ids = torch.arange(1, 9, device=self._head.weight.device)[None]
        logits = self._model(input_ids=ids, use_cache=False).logits
        with self._bare_head():
            hidden = self._model(input_ids=ids, use_cache=False).logits
        self._model.train(training)
        if hidden.shape[-1] != self._head.in_features:
            return False
        expected = self._head(hidden)
        return bool((expected - logits).abs().max() <= 1e-3 * logits.float().std())


class _SlicedLoss(torch.autograd.Function):
    """Summed cross-entropy of ``hidden @ weight.T + bias``; the gradients are made along with the loss.

    Shapes: hidden (tokens, size), weight (vocabulary, size), bias (vocabulary,) or nothing, targets (tokens,).
    """

    @staticmethod
    def forward(ctx: Any, hidden: Any, weight: Any, bias: Any, targets: Any, dtype: torch.dtype) -> torch.Tensor:
        wants_hidden, wants_weight, wants_bias = ctx.needs_input_grad[:3]
        head = weight.to(dtype)
        hidden_gradient = torch.empty_like(hidden) if wants_hidden else None
        weight_gradient = torch.zeros_like(weight) if wants_weight else None
        bias_gradient = torch.zeros_like(bias) if wants_bias else None
        total = torch.zeros((), dtype=torch.float32, device=hidden.device)
        size = max(1, _SLICE_BYTES // (4 * weight.shape[0]))
        for start in range(0, len(targets), size):
            rows, wanted = hidden[start : start + size].to(dtype), targets[start : start + size, None]
            logits = torch.mm(rows, head.t()).float()
            if bias is not None:
                logits += bias
            normaliser = logits.logsumexp(-1, keepdim=True)
            total += (normaliser - logits.gather(1, wanted)).sum()
            if not (wants_hidden or wants_weight or wants_bias):
                continue
            probabilities = logits.sub_(normaliser).exp_()
            gradient = probabilities.scatter_add_(1, wanted, torch.full_like(wanted, -1.0, dtype=torch.float32))
            if bias_gradient is not None:
                bias_gradient += gradient.sum(0)
            gradient = gradient.to(dtype)
            if hidden_gradient is not None:
                hidden_gradient[start : start + size] = torch.mm(gradient, head)
            if weight_gradient is not None:
                weight_gradient += torch.mm(gradient.t(), rows)
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient)
        return total

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        (scale,) = gradients
        return (*(None if saved is None else saved.mul_(scale) for saved in ctx.saved_tensors), None, None)
