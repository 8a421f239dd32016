"""LoRA as a part beside others: ``W x + scale · B A x`` (https://arxiv.org/abs/2106.09685)."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from .config import LowRankConfig
from .gates import Gate
from .layer import Part, as_weights


class LowRank(Part):
    """Shapes: lora_A (r, in), lora_B (out, r). With a gate, the gate is the scale, as in UniPELT."""

    def __init__(self, sizes: tuple[int, int], config: LowRankConfig, gate: Gate | None = None) -> None:
        super().__init__()
        into, out = sizes
        self.lora_A = nn.Linear(into, config.r, bias=False)
        self.lora_B = nn.Linear(config.r, out, bias=False)
        self.gate = gate
        self.dropout = nn.Dropout(config.lora_dropout)
        self.scaling = config.lora_alpha / config.r
        nn.init.kaiming_uniform_(self.lora_A.weight, a=math.sqrt(5))
        nn.init.zeros_(self.lora_B.weight)

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: torch.Tensor) -> torch.Tensor:
        inside = as_weights(args[0], self.lora_A.weight)
        update = self.lora_B(self.lora_A(self.dropout(inside)))
        update = update * (self.scaling if self.gate is None else self.gate(inside))
        return output + update.to(output.dtype)


def linear_sizes(module: nn.Module) -> tuple[int, int] | None:
    """(in, out) of a linear module, GPT-2's transposed ones included; none of any other."""
    if isinstance(module, nn.Linear):
        return module.in_features, module.out_features
    if isinstance(module, Conv1D):
        return module.nx, module.nf
    return None
