"""Bottleneck adapters: ``scaling · up(f(down(x)))`` added to a place in each block.

Papers: Houlsby et al. 2019 (https://arxiv.org/abs/1902.00751), Pfeiffer et al. 2020 (https://arxiv.org/abs/2005.00052),
He et al. 2021 (https://arxiv.org/abs/2110.04366).
"""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers.activations import ACT2FN

from .config import BottleneckConfig
from .gates import Gate
from .layer import Part, as_weights, main_output, with_main_output

_NEAR_IDENTITY = {"houlsby": 1e-2, "pfeiffer": 2e-2}
"""Standard deviation of the weights at the start, truncated at two of them."""


class Bottleneck(Part):
    """The two projections; subclasses say what they read and where the result is added.

    Shapes: down (size, hidden), up (hidden, size).

    Args:
        gate: multiplies the result, token by token.
    """

    def __init__(self, hidden: int, config: BottleneckConfig, gate: Gate | None = None) -> None:
        super().__init__()
        self.down = nn.Linear(hidden, config.size)
        self.up = nn.Linear(config.size, hidden)
        self.gate = gate
        self.activation = ACT2FN[config.non_linearity]
        self.dropout = nn.Dropout(config.dropout)
        self.scaling = config.scaling
        self._start(config.variant)

    def _start(self, variant: str) -> None:
        """Near the identity as in the adapters' own papers; exactly nothing for the parallel one, which starts like LoRA."""
        nn.init.zeros_(self.down.bias)
        nn.init.zeros_(self.up.bias)
        if variant == "parallel":
            nn.init.kaiming_uniform_(self.down.weight, a=math.sqrt(5))
            nn.init.zeros_(self.up.weight)
            return
        for projection in (self.down, self.up):
            deviation = _NEAR_IDENTITY[variant]
            nn.init.trunc_normal_(projection.weight, std=deviation, a=-2 * deviation, b=2 * deviation)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What is added: the shape and dtype of ``x``, (rows, columns, hidden)."""
        inside = as_weights(x, self.down.weight)
        result = self.up(self.activation(self.down(self.dropout(inside)))) * self.scaling
        if self.gate is not None:
            result = result * self.gate(inside)
        return result.to(x.dtype)


class Behind(Bottleneck):
    """``h + A(h)`` for the output ``h`` of a module."""

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        hidden = main_output(output)
        return with_main_output(output, hidden + self(hidden))


class Beside(Bottleneck):
    """``F(x) + A(x)`` for a module ``F``."""

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        return with_main_output(output, main_output(output) + self(args[0]))


class BesideResidual(Bottleneck):
    """``F(x) + A(x)`` where ``x`` is the second argument of the module that ends ``F``, which adds it to its own output."""

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        states, residual, *rest = args
        return (states, residual + self(residual), *rest), kwargs


class TrainedNorm(Part):
    """A normalisation's weight and bias, to train in place of the base's, which stay as they are."""

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        for name, parameter in module.named_parameters(recurse=False):
            self.register_parameter(name, nn.Parameter(parameter.detach().float().clone()))

    def normalised(self, module: Any, x: torch.Tensor) -> torch.Tensor:
        """What ``module`` gives for ``x`` with these weights."""
        originals = dict(module._parameters)
        try:
            for name, own in self.named_parameters():
                module._parameters[name] = own.to(originals[name].dtype)
            return module.forward(x)
        finally:
            module._parameters.update(originals)

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> torch.Tensor:
        return self.normalised(module, args[0])


class BehindNorm(Bottleneck):
    """``norm(s + A(norm(s)))`` for a normalisation of the sum ``s`` of a sublayer and its residual."""

    def after(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> torch.Tensor:
        total = args[0] + self(output)
        trained = self._trained[0]
        return module.forward(total) if trained is None else trained.normalised(module, total)

    _trained: tuple[TrainedNorm | None] = (None,)

    def with_norm(self, trained: TrainedNorm | None) -> BehindNorm:
        """This, where the normalisation trains too; that part stays where it is (a tuple is no child of a module)."""
        self._trained = (trained,)
        return self
