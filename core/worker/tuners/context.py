"""What the parts of one adapter share during a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from .prefix import Projection
    from .prompt import Prompt


@dataclass
class Context:
    """Set anew at the start of every forward pass by `body.Body`, read by the parts inside.

    Attributes:
        causal: whether the model reads from left to right only.
        projection, virtual: the parts that compute something for all layers, where there are such.
        mask: (rows, columns), 1 for tokens and 0 for padding; none where nothing is padded.
        prefixes: keys and values (heads, virtual tokens, head size) of each layer, where they are computed and not stored.
        prompt: an encoder's embedded prompt (1, virtual tokens, hidden size).
        recording: while a prompt runs through a causal model by itself: where its keys and values are put.
        gates: the mean of each gate in the last pass, ``(kind, path of the module)`` to a scalar.
    """

    causal: bool
    projection: Projection | None = None
    virtual: Prompt | None = None
    mask: torch.Tensor | None = None
    prefixes: list[tuple[torch.Tensor, torch.Tensor]] = field(default_factory=list)
    prompt: torch.Tensor | None = None
    recording: dict[int, tuple[torch.Tensor, torch.Tensor]] | None = None
    inside: bool = False
    gates: dict[tuple[str, str], torch.Tensor] = field(default_factory=dict)

    def __deepcopy__(self, memo: dict[int, Any]) -> Context:
        """A copy of a model shares nothing of a forward pass with it."""
        copy = memo[id(self)] = Context(self.causal)
        copy.projection, copy.virtual = deepcopy((self.projection, self.virtual), memo)
        return copy

    @contextmanager
    def prompt_alone(self) -> Iterator[dict[int, tuple[torch.Tensor, torch.Tensor]]]:
        """While the prompt itself goes through (parts of) the model, nothing is put in front of it."""
        self.inside, self.recording = True, {}
        try:
            yield self.recording
        finally:
            self.inside, self.recording = False, None


def past_length(cache: Any, layer: int) -> int:
    """Tokens that a key-value cache holds at a layer; 0 without one."""
    return int(cache.get_seq_length(layer)) if cache is not None else 0
