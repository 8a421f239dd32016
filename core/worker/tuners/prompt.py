"""Learned vectors in front of the embedded text: prompt tuning and P-tuning.

In a causal model virtual tokens see nothing of the text, so they run through the model once a forward pass, by themselves, and their
keys and values stand in front of every row's: the very sums of a model that sees them in front of each text, however the rows are
padded. In an encoder they see the text: there they really are put in front of it, and taken off again behind the last block, so that
[CLS] stays where the pooler looks for it.

Papers: Lester et al. 2021 (https://arxiv.org/abs/2104.08691), Liu et al. 2021 (https://arxiv.org/abs/2103.10385).
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from .config import PromptConfig
from .context import Context
from .layer import Part
from .prefix import InFront, KeysAndValues


class Prompt(Part):
    """The virtual tokens' embeddings, (virtual tokens, hidden), or the network that computes them while training.

    Args:
        embedding: the model's own, whose rows they may start as.
    """

    def __init__(self, embedding: nn.Embedding, config: PromptConfig) -> None:
        super().__init__()
        hidden = embedding.embedding_dim
        self.embeddings = nn.Parameter(_start(embedding, config))
        self.encoder = None if config.encoder == "none" else _Encoder(hidden, config)

    def vectors(self) -> torch.Tensor:
        """What stands in front of the text: (virtual tokens, hidden)."""
        return self.embeddings if self.encoder is None else self.encoder(self.embeddings)

    def saved(self) -> dict[str, torch.Tensor]:
        """The vectors themselves, as an encoder's output too."""
        return {"embeddings": self.vectors()}


class _Encoder(nn.Module):
    """P-tuning's prompt encoder: an MLP of three layers, or a bidirectional LSTM under an MLP of two."""

    def __init__(self, hidden: int, config: PromptConfig) -> None:
        super().__init__()
        size = config.encoder_size
        self.lstm: nn.LSTM | None = None
        if config.encoder == "lstm":
            dropout = config.encoder_dropout if config.encoder_layers > 1 else 0.0
            self.lstm = nn.LSTM(hidden, size, config.encoder_layers, dropout=dropout, bidirectional=True, batch_first=True)
            self.head = nn.Sequential(nn.Linear(2 * size, 2 * size), nn.ReLU(), nn.Linear(2 * size, hidden))
        else:
            self.head = nn.Sequential(nn.Linear(hidden, size), nn.ReLU(), nn.Linear(size, size), nn.ReLU(), nn.Linear(size, hidden))

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        if self.lstm is not None:
            # Without gradients, CPUs take another kernel, and what is saved would differ in the last bit. In bfloat16, those that
            # do not compute in it have none at all.
            with torch.enable_grad(), torch.autocast(embeddings.device.type, enabled=False):
                embeddings = self.lstm(embeddings[None])[0][0]
        return self.head(embeddings)


def _start(embedding: nn.Embedding, config: PromptConfig) -> torch.Tensor:
    """The embeddings at the start, float32."""
    count, hidden = config.num_virtual_tokens, embedding.embedding_dim
    device = embedding.weight.device
    if config.start == "random":
        return torch.randn(count, hidden, device=device)
    if config.start == "tokens" and config.start_tokens:
        tokens = torch.tensor(config.start_tokens, device=device).repeat(count // len(config.start_tokens) + 1)[:count]
    else:
        tokens = torch.randint(0, embedding.num_embeddings, (count,)).to(device)
    return embedding.weight.detach()[tokens].float().clone()


class PromptKeys(InFront):
    """At each attention module of a causal model: the keys and values that the prompt had when it ran by itself."""

    def keys_and_values(self) -> KeysAndValues:
        """Of this layer, (heads, virtual tokens, head size) each."""
        return self._context.prefixes[self._layer]


class ShiftedPositions(Part):
    """At a table of learned positions: the text's begin behind the prompt's."""

    def __init__(self, context: Context, count: int) -> None:
        super().__init__()
        self._context, self._count = context, count

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        if self._context.inside:
            return args, kwargs
        return (args[0] + self._count, *args[1:]), kwargs


class PromptRows(Part):
    """At an encoder's stack of blocks: the embedded prompt in front of every row, and off again at the end."""

    def __init__(self, context: Context) -> None:
        super().__init__()
        self._context = context

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        hidden, prompt = args[0], self._context.prompt
        assert prompt is not None
        rows = prompt.to(hidden.dtype).expand(hidden.shape[0], -1, -1)
        mask = _square(kwargs.get("attention_mask"), rows.shape[1])
        return (torch.cat([rows, hidden], dim=1), *args[1:]), {**kwargs, "attention_mask": mask}

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        assert self._context.prompt is not None
        return replace(output, last_hidden_state=output.last_hidden_state[:, self._context.prompt.shape[1] :])


def _square(mask: torch.Tensor | None, count: int) -> torch.Tensor | None:
    """An encoder's mask with ``count`` further columns, that everybody may look at, and rows, that may look where the others may."""
    if mask is None:
        return None
    wide = pad(mask, (count, 0), value=0.0 if mask.is_floating_point() else 1)
    if wide.dim() == 4 and wide.shape[-2] > 1:
        wide = torch.cat([wide[:, :, :1].expand(-1, -1, count, -1), wide], dim=-2)
    return wide
