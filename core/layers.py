"""Where a weight stands in a transformer, told by its name: the same for tensors of files and parameters of loaded models.

Methods that train part of a base choose by these places, so that what the planner counts is what the worker trains.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from .modelspec import ModelSpec

Part = Literal["embeddings", "block", "final", "output", "classifier"]

_BLOCK = re.compile(r"(?:^|\.)(\d+)\.")
_EMBEDDINGS = re.compile(r"embed|(?:^|\.)(?:wte|wpe)\.")
_TOKENS = re.compile(r"(?:^|\.)(?:embed_tokens|word_embeddings|wte|embed_in)\.weight$")
_OUTPUT = re.compile(r"^(?:lm_head|embed_out|cls)\.")


@dataclass(frozen=True, slots=True)
class Place:
    """One weight and where it stands.

    Attributes:
        name: of the tensor.
        shape: of the tensor.
        part: ``embeddings``, a ``block``, what is ``final`` above the blocks (norm, pooler), the ``output`` head over the
            vocabulary, or the task's ``classifier``. Embeddings that the output head shares are ``output``.
        depth: blocks counted from the top: 0 above them, 1 the last, …, n the first, n + 1 the embeddings.
    """

    name: str
    shape: tuple[int, ...]
    part: Part
    depth: int

    @property
    def is_head(self) -> bool:
        """Whether it belongs to a head, over the vocabulary or the task's."""
        return self.part in ("output", "classifier")

    def is_embeddings(self, model: ModelSpec) -> bool:
        """Whether it is an embedding matrix, the output head's where they share it."""
        return self.part == "embeddings" or (self.part == "output" and model.tie_word_embeddings and model.task == "causal-lm")

    @property
    def is_bias(self) -> bool:
        """Whether it is a bias, those of norms included."""
        return self.name.endswith((".bias", ".beta"))

    @property
    def is_gain(self) -> bool:
        """Whether it is the weight of a norm: the only weights of one dimension."""
        return len(self.shape) == 1 and self.name.endswith((".weight", ".gamma"))


class _Name(NamedTuple):
    """What a weight's name says by itself."""

    output: bool
    tokens: bool
    block: int | None
    embeddings: bool


@lru_cache(maxsize=16384)
def _read(name: str) -> _Name:
    """Remembered: a ranking of methods asks for the same names hundreds of times."""
    block = _BLOCK.search(name)
    return _Name(bool(_OUTPUT.search(name)), bool(_TOKENS.search(name)), int(block[1]) if block else None, bool(_EMBEDDINGS.search(name)))


@dataclass(frozen=True, slots=True)
class Layout:
    """What must be known of a model to place its weights.

    Attributes:
        blocks: how many.
        shares_embeddings: whether the output head is the embeddings' matrix (causal language models only).
        classifier: names of the task's head: of its tensors, or of modules.
    """

    blocks: int
    shares_embeddings: bool
    classifier: frozenset[str] = frozenset()

    def place(self, name: str, shape: tuple[int, ...]) -> Place:
        """The place of a weight."""
        if name in self.classifier or name.rpartition(".")[0] in self.classifier:
            return Place(name, shape, "classifier", 0)
        read = _read(name)
        if read.output or (self.shares_embeddings and read.tokens):
            return Place(name, shape, "output", 0)
        if read.block is not None:
            return Place(name, shape, "block", self.blocks - read.block)
        return Place(name, shape, "embeddings", self.blocks + 1) if read.embeddings else Place(name, shape, "final", 0)


def places(model: ModelSpec) -> list[Place]:
    """Every weight of a model made for its task (`planner.tasks.for_task`), tied ones once."""
    shares = model.tie_word_embeddings and model.task == "causal-lm"
    layout = Layout(model.num_hidden_layers, shares, frozenset(model.head))
    return [layout.place(name, tensor.shape) for name, tensor in model.parameter_tensors.items()]
