"""What can be known of a base model without loading it: from ``config.json`` and safetensors headers alone."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

TOKENIZER_FILES = ("tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "spiece.model")
"""A model folder has a tokenizer when it has one of these."""

TEXT_SUFFIXES = (".json", ".md", ".txt", ".jinja", ".model", ".tiktoken")
"""Configuration, tokenizer and text: what may stand beside weights wherever a model or an adapter goes. No code, no pickles."""

ENCODERS = frozenset({"albert", "bert", "deberta", "deberta-v2", "distilbert", "electra", "modernbert", "mpnet", "roberta", "xlm-roberta"})
"""Model types that read in both directions and generate nothing: they classify."""

_BUFFER = re.compile(r"(?:^|\.)(?:rotary_emb\.inv_freq|position_ids|masked_bias|attn\.bias)$")
_TIED_HEADS = ("lm_head.weight", "cls.predictions.decoder.weight", "cls.predictions.decoder.bias", "embed_out.weight")

_TRAINER_STATE = ("training_args.bin", "optimizer.pt", "optimizer.bin", "scheduler.pt", "scheduler.bin", "rng_state.pth", "scaler.pt")


def is_text_file(name: str) -> bool:
    """Whether a file is configuration, tokenizer, text or a licence."""
    return name.lower().endswith(TEXT_SUFFIXES) or name.startswith(("LICENSE", "NOTICE")) and "." not in name


def is_pickle(name: str) -> bool:
    """Whether a file holds weights as a pickle (which can run code when it is read), or lists such files."""
    pickled = name.endswith((".bin", ".pt", ".pth", ".ckpt", ".pkl", ".bin.index.json"))
    return pickled and name not in _TRAINER_STATE


def is_norm(parameter: str) -> bool:
    """Whether a parameter belongs to a normalisation, by its path (``…input_layernorm.weight``, ``…ln_1.bias``)."""
    module = parameter.lower().split(".")[-2:-1]
    return bool(module) and ("norm" in module[0] or module[0].startswith("ln_"))


def companions(folder: Path) -> list[Path]:
    """What a model that is made from the one in ``folder`` shares with it: configuration, tokenizer, chat template, licence.

    Left out: the index of the weights, FineTUI's manifest and the model card, which speak of that model only.
    """
    own = ("finetui.json", "README.md")
    files = sorted(path for path in folder.iterdir() if path.is_file() and is_text_file(path.name))
    return [path for path in files if path.name not in own and not path.name.endswith(".index.json")]


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """Shape and safetensors dtype (``F32``, ``BF16``, …) of one stored tensor."""

    shape: tuple[int, ...]
    dtype: str

    @property
    def elements(self) -> int:
        """Number of elements."""
        count = 1
        for size in self.shape:
            count *= size
        return count


def parameter_names(tensors: Mapping[str, TensorSpec], tied: bool) -> list[str]:
    """The stored tensors that are parameters: buffers left out, and an output head that repeats the embeddings."""
    names = []
    for name, tensor in tensors.items():
        is_mask = name.endswith("attn.bias") and len(tensor.shape) == 1
        if _BUFFER.search(name) and not is_mask:
            continue
        if tied and name in _TIED_HEADS:
            continue
        names.append(name)
    return names


@dataclass(frozen=True, slots=True)
class LinearSpec:
    """One linear projection inside a transformer block (fused projections count as one; GPT-2's Conv1D too).

    Attributes:
        name: module path, for example ``model.layers.0.self_attn.q_proj``.
        block: index of the transformer block.
    """

    name: str
    in_features: int
    out_features: int
    block: int

    @property
    def suffix(self) -> str:
        """Last part of the name, what ``target_modules`` lists: ``q_proj``."""
        return self.name.rsplit(".", 1)[-1]


@dataclass(frozen=True)
class ModelSpec:
    """A base model, described from its files.

    Attributes:
        path: the model folder.
        architecture: class name, ``Qwen2ForCausalLM``.
        model_type: ``qwen2``, ``llama``, ``falcon``, ``gpt2``, ``bert``, …
        dtype: of most weights, ``float32`` / ``bfloat16`` / ``float16``.
        parameters: count, tied weights once.
        linears: the projections inside the blocks, head and embeddings left out.
        tensors: every stored tensor by name; derived from the shapes of ``config`` where no weights are there.
        has_weights: whether safetensors files were found.
        config: ``config.json`` as read.
        task: that the model is described for; `planner.tasks.for_task` turns a base into a classifier.
        head: tensors that the task adds or trains anew (a classifier); empty for ``causal-lm``. They count in ``parameters``.
    """

    path: Path
    architecture: str
    model_type: str
    dtype: str
    parameters: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    vocab_size: int
    max_length: int
    tie_word_embeddings: bool
    linears: tuple[LinearSpec, ...]
    tensors: Mapping[str, TensorSpec] = field(repr=False)
    has_weights: bool
    config: Mapping[str, Any] = field(repr=False)
    task: str = "causal-lm"
    head: Mapping[str, TensorSpec] = field(default_factory=dict, repr=False)

    @property
    def head_parameters(self) -> int:
        """Parameters of the task's head: every method trains them; 0 for ``causal-lm``."""
        return sum(tensor.elements for tensor in self.head.values())

    @cached_property
    def parameter_tensors(self) -> dict[str, TensorSpec]:
        """The tensors that are parameters, tied weights once."""
        return {name: self.tensors[name] for name in parameter_names(self.tensors, self.tie_word_embeddings)}

    @property
    def is_decoder(self) -> bool:
        """Whether it can write text: causal attention and a head over the vocabulary."""
        return self.model_type not in ENCODERS

    @property
    def linear_parameters(self) -> int:
        """Weights of the blocks' projections: what 4-bit loading quantises."""
        return sum(linear.in_features * linear.out_features for linear in self.linears)
