"""UniPELT's gates: how much of a part is let through, computed from what the part sees.

Paper: Mao et al. 2021, https://arxiv.org/abs/2110.07577. The paper averages a gate over the sequence. In a causal model that
would tell every token of those after it, so there a gate belongs to its token alone.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn.functional import logsigmoid

from .context import Context
from .layer import as_weights


class Gate(nn.Module):
    """``sigmoid(w · x + b)``: one value a token in causal models, one value a row (the mean over its tokens) in encoders.

    Args:
        size: of the vectors it reads.
        key: kind of the gated part and path of its module, under which the mean of the values is kept in the context.
    """

    def __init__(self, size: int, context: Context, key: tuple[str, str]) -> None:
        super().__init__()
        self.linear = nn.Linear(size, 1)
        self._context, self._key = context, key

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Values for ``x`` (rows, columns, size): (rows, columns, 1), or (rows, 1, 1) in encoders."""
        values = torch.sigmoid(self.linear(as_weights(x, self.linear.weight)))
        if not self._context.causal:
            values = _masked_mean(values, self._context.mask)
        self._context.gates[self._key] = values.detach().mean()
        return values

    def logarithm(self, x: torch.Tensor) -> torch.Tensor:
        """The logarithm of the values token by token, (rows, columns, 1), exact also where they are close to 0."""
        scores = self.linear(as_weights(x, self.linear.weight)).float()
        self._context.gates[self._key] = torch.sigmoid(scores.detach()).mean()
        return logsigmoid(scores)


def _masked_mean(values: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    if mask is None:
        return values.mean(1, keepdim=True)
    weights = mask.to(values.dtype)[:, :, None]
    return (values * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True).clamp(min=1)


def gate_values(model: nn.Module) -> dict[str, dict[str, float]]:
    """Mean value of every gate in the last forward pass: kind (``lora``, ``prefix``, ``adapter``) → path of the module → value."""
    values: dict[str, dict[str, float]] = {}
    contexts = {id(gate._context): gate._context for gate in model.modules() if isinstance(gate, Gate)}
    for context in contexts.values():
        for (kind, path), value in context.gates.items():
            values.setdefault(kind, {})[path] = value.item()
    return values


def gate_means(model: nn.Module) -> dict[str, float]:
    """Mean value of each kind of gate in the last forward pass."""
    return {kind: sum(values.values()) / len(values) for kind, values in gate_values(model).items()}
