"""The body of a model (all but its head): where each forward pass begins, for what the parts of an adapter compute once for all layers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers.modeling_layers import GradientCheckpointingLayer

from .context import Context, past_length
from .layer import Part
from .places import Places
from .prefix import KeysAndValues


class Body(Part):
    """Sets an adapter's context at the start of every forward pass. It has no parameters."""

    def __init__(self, context: Context, places: Places) -> None:
        super().__init__()
        self._context, self._places = context, places

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Note the mask; compute prefixes and prompt."""
        context = self._context
        if context.inside:
            return args, kwargs
        context.mask = kwargs.get("attention_mask")
        prompt = context.virtual
        if context.projection is not None:
            context.prefixes = context.projection.prefixes()
        if prompt is not None and not context.causal:
            context.prompt = self._embedded(module, prompt.vectors())
        elif prompt is not None and not (context.prefixes and past_length(kwargs.get("past_key_values"), 0)):
            context.prefixes = self._prompt_through(module, prompt.vectors())
        return args, kwargs

    def _embedded(self, body: nn.Module, vectors: torch.Tensor) -> torch.Tensor:
        """The prompt as an encoder embeds it, on the first positions: (1, virtual tokens, hidden)."""
        embeddings = body.get_submodule(self._places.embeddings)
        with self._context.prompt_alone():
            return embeddings(inputs_embeds=_as_embedded(body, vectors), position_ids=_positions(vectors, 0))

    def _prompt_through(self, body: nn.Module, vectors: torch.Tensor) -> list[KeysAndValues]:
        """Keys and values of the prompt at every layer, (heads, virtual tokens, head size) each.

        Its positions are those directly before the text's: negative ones where positions are rotations; where they are
        learned the text's are shifted instead.
        """
        first = 0 if self._places.positions else -vectors.shape[0]
        with self._context.prompt_alone() as recorded, _without_checkpointing(body):
            body(inputs_embeds=_as_embedded(body, vectors), position_ids=_positions(vectors, first), use_cache=False)
        return [recorded[layer] for layer in sorted(recorded)]


def _as_embedded(body: Any, vectors: torch.Tensor) -> torch.Tensor:
    return vectors[None].to(body.get_input_embeddings().weight.dtype)


def _positions(vectors: torch.Tensor, first: int) -> torch.Tensor:
    return torch.arange(first, first + vectors.shape[0], device=vectors.device)[None]


@contextmanager
def _without_checkpointing(body: nn.Module) -> Iterator[None]:
    """Keep the few tokens of a prompt out of checkpointing, whose second pass would find the model in another state."""
    layers = [module for module in body.modules() if isinstance(module, GradientCheckpointingLayer) and module.gradient_checkpointing]
    for layer in layers:
        layer.gradient_checkpointing = False
    try:
        yield
    finally:
        for layer in layers:
            layer.gradient_checkpointing = True
