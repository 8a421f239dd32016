"""The optimizer and how its learning rate moves."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from transformers import get_scheduler

from ..api import Method
from ..training import TrainingOptions
from .precision import Precision

_SLICE_BYTES = 2**26
"""Of float32 gradients that exist at once beside 16-bit ones."""


class MasterCopyAdamW(torch.optim.AdamW):
    """AdamW on float32 master copies of weights that the model holds in 16 bits (https://arxiv.org/abs/1710.03740).

    The model's parameters must be float32 when it is made: they become the master copies, and the model gets rounded ones.
    Gradients are 16 bits as well; they are expanded a slice at a time, so that they never exist in float32 all at once.

    Args:
        groups: parameter groups of the model's parameters.
        dtype: the model's weights are held in.
    """

    def __init__(self, groups: list[dict[str, Any]], dtype: torch.dtype, **arguments: Any) -> None:
        self.pairs: list[tuple[nn.Parameter, nn.Parameter]] = []
        """(the model's weight, its master copy), in the order of the groups."""
        for group in groups:
            own = [(weight, nn.Parameter(weight.data)) for weight in group["params"]]
            group["params"] = [master for _, master in own]
            self.pairs += own
        for weight, _ in self.pairs:
            weight.data = weight.data.to(dtype)
        super().__init__(groups, **arguments)

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Update the masters and round them into the model's weights."""
        for some in self._slices():
            for weight, master in some:
                master.grad = weight.grad.float()  # pyright: ignore[reportOptionalMemberAccess]
            super().step()
            for weight, master in some:
                weight.copy_(master)
                master.grad = None

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Drop the gradients of the model's weights."""
        for weight, _ in self.pairs:
            weight.grad = None

    def _slices(self) -> Iterator[list[tuple[nn.Parameter, nn.Parameter]]]:
        some, size = [], 0
        for weight, master in self.pairs:
            if weight.grad is None:
                continue
            some.append((weight, master))
            size += 4 * weight.numel()
            if size >= _SLICE_BYTES:
                yield some
                some, size = [], 0
        if some:
            yield some


def build_optimizer(
    model: Any, method: Method, method_options: Any, options: TrainingOptions, precision: Precision
) -> torch.optim.Optimizer:
    """AdamW with decoupled weight decay (https://arxiv.org/abs/1711.05101) over the method's parameter groups, on master
    copies of the weights where that is wanted."""
    rate = method.learning_rate if options.learning_rate is None else options.learning_rate
    groups = method.parameter_groups(model, method_options, rate, options.weight_decay)
    arguments: dict[str, Any] = {
        "lr": rate, "betas": (options.adam_beta1, options.adam_beta2), "eps": options.adam_epsilon, "fused": True,
    }  # fmt: skip
    if options.master_copy == "fp32":
        return MasterCopyAdamW(groups, precision.dtype, **arguments)
    if options.optim != "adamw":
        return _paged(groups, options, **arguments)
    return torch.optim.AdamW(groups, **arguments)


def _paged(groups: list[dict[str, Any]], options: TrainingOptions, *, fused: bool, **arguments: Any) -> torch.optim.Optimizer:
    """AdamW whose states lie in pages that the driver moves to the machine's memory when the GPU's is full
    (https://arxiv.org/abs/2305.14314), in 32 bits or in blocks of 8 (https://arxiv.org/abs/2110.02861)."""
    from bitsandbytes.optim import PagedAdamW8bit, PagedAdamW32bit

    return (PagedAdamW8bit if options.optim == "paged_adamw_8bit" else PagedAdamW32bit)(groups, **arguments)


def held(optimizer: torch.optim.Optimizer) -> list[tuple[nn.Parameter, torch.Tensor]]:
    """Every parameter of the model that trains now or will, with the tensor that holds its exact value: itself, or its master."""
    if isinstance(optimizer, MasterCopyAdamW):
        return list(optimizer.pairs)
    return [(parameter, parameter) for group in optimizer.param_groups for parameter in group["params"]]


def settle(optimizer: torch.optim.Optimizer) -> None:
    """Give the model the exact values, where it holds rounded ones; it is trained no further."""
    for weight, exact in held(optimizer):
        weight.data = exact.data


def build_scheduler(optimizer: torch.optim.Optimizer, options: TrainingOptions, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Warm-up, then the chosen schedule over ``total_steps``; ``warmup_steps`` below 1 is a share of them."""
    warmup = options.warmup_steps
    warmup_steps = round(warmup * total_steps) if warmup < 1 else round(warmup)
    return get_scheduler(options.lr_scheduler_type, optimizer, num_warmup_steps=warmup_steps, num_training_steps=total_steps)
