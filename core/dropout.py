"""Dropout of a model's own layers: what its configuration calls it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .errors import Incompatible

_NAMES = (
    "attention_dropout", "attention_probs_dropout_prob", "attn_pdrop", "dropout", "embd_pdrop", "hidden_dropout", "hidden_dropout_prob",
    "resid_pdrop",
)  # fmt: skip

_OF_TYPE = {
    "bert": ("hidden_dropout_prob", "attention_probs_dropout_prob"),
    "falcon": ("hidden_dropout", "attention_dropout"),
    "gpt2": ("embd_pdrop", "attn_pdrop", "resid_pdrop"),
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3"), ("attention_dropout",)),
}
"""Model type → the settings that it has, whether its ``config.json`` writes them out or not."""


def dropout_names(config: Mapping[str, Any]) -> list[str]:
    """The settings of a ``config.json`` that are the dropout of the model's layers."""
    known = _OF_TYPE.get(str(config.get("model_type")), ())
    return [name for name in _NAMES if name in known or isinstance(config.get(name), (int, float))]


def dropout_settings(config: Mapping[str, Any], rate: float | None) -> dict[str, float]:
    """The settings that give a model's layers dropout at ``rate``; empty where that is left to the model.

    Raises:
        Incompatible: the architecture has no dropout.
    """
    names = dropout_names(config) if rate is not None else []
    if rate is not None and not names:
        raise Incompatible(f"dropout={rate:g}: '{config.get('model_type')}' models have no dropout in their layers", "leave it out")
    return {name: rate for name in names if rate is not None}
