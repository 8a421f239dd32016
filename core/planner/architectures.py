"""Tensor names and shapes of the common architectures, from ``config.json`` alone.

So a model can be planned for before its weights are downloaded. Names and shapes are those of the state dict that
transformers builds; tests compare the two. A tensor that only repeats another (a tied output head) is left out, as
safetensors files leave it out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Shapes = dict[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """The dimensions of a transformer under one name each, whatever the architecture calls them."""

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    vocab: int
    max_length: int
    tied: bool


_NAMES: dict[str, tuple[str, ...]] = {
    "hidden": ("hidden_size", "n_embd", "d_model", "n_embed"),
    "layers": ("num_hidden_layers", "n_layer", "num_layers", "n_layers"),
    "heads": ("num_attention_heads", "n_head", "num_heads", "n_heads"),
    "kv_heads": ("num_key_value_heads", "num_kv_heads", "n_head_kv"),
    "intermediate": ("intermediate_size", "ffn_hidden_size", "n_inner", "d_ff", "ffn_dim"),
    "vocab": ("vocab_size",),
    "max_length": ("max_position_embeddings", "n_positions", "seq_length", "n_ctx"),
}

_UNTIED = frozenset({"llama", "mistral", "qwen2", "qwen3", "phi3"})
"""Types whose output head is a matrix of its own unless the configuration says otherwise; all others tie it."""

_HEAD_DIM = {"qwen3": 128, "gemma": 256, "gemma2": 256, "gemma3_text": 256}
"""Width of an attention head where the configuration leaves it out and it is not hidden size over heads."""


def text_config(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The part of ``config`` that describes the language model (multimodal models nest it)."""
    nested = config.get("text_config")
    return nested if isinstance(nested, dict) and "vocab_size" not in config else config


def read_sizes(config: Mapping[str, Any], model_type: str) -> Sizes:
    """The dimensions in ``config``.

    Raises:
        KeyError: a dimension is missing; the key is the name that is usual for it.
        ValueError: one is not a positive whole number.
    """
    hidden, layers, heads = (_size(config, name) for name in ("hidden", "layers", "heads"))
    kv_heads = _size(config, "kv_heads", heads)
    if model_type == "falcon" and config.get("multi_query", True) and not config.get("new_decoder_architecture"):
        kv_heads = 1
    return Sizes(
        hidden=hidden, layers=layers, heads=heads, kv_heads=kv_heads,
        head_dim=config.get("head_dim") or _HEAD_DIM.get(model_type) or hidden // heads,
        intermediate=_size(config, "intermediate", 4 * hidden),
        vocab=_size(config, "vocab"),
        max_length=_size(config, "max_length", 2048),
        tied=bool(config.get("tie_word_embeddings", model_type not in _UNTIED)),
    )  # fmt: skip


def _size(config: Mapping[str, Any], what: str, default: int | None = None) -> int:
    for name in _NAMES[what]:
        value = config.get(name)
        if value is not None:
            if type(value) is not int or value < 1:
                raise ValueError(f"{name} is {value!r}, not a positive whole number")
            return value
    if default is None:
        raise KeyError(_NAMES[what][0])
    return default


def derive_shapes(config: Mapping[str, Any], model_type: str, architecture: str, sizes: Sizes) -> Shapes | None:
    """Shapes of every tensor by name, or nothing where the architecture is not known here."""
    family = _FAMILIES.get(model_type)
    return None if family is None else family(config, model_type, architecture, sizes)


def is_known(model_type: str) -> bool:
    """Whether `derive_shapes` knows the architecture (so does transformers, without remote code)."""
    return model_type in _FAMILIES


def _labels(config: Mapping[str, Any]) -> int:
    return len(config.get("id2label") or ()) or int(config.get("num_labels") or 2)


def _put(shapes: Shapes, name: str, out: int, into: int, bias: bool) -> None:
    """Add the weight, and the bias where there is one, of an ``nn.Linear``."""
    shapes[f"{name}.weight"] = (out, into)
    if bias:
        shapes[f"{name}.bias"] = (out,)


def _norm(shapes: Shapes, name: str, size: int) -> None:
    shapes[f"{name}.weight"] = shapes[f"{name}.bias"] = (size,)


def _decoder_head(shapes: Shapes, config: Mapping[str, Any], architecture: str, sizes: Sizes) -> None:
    """The output head of a decoder: vocabulary (unless tied), classes, or none."""
    if architecture.endswith("ForSequenceClassification"):
        shapes["score.weight"] = (_labels(config), sizes.hidden)
    elif not architecture.endswith("Model") and not sizes.tied:
        shapes["lm_head.weight"] = (sizes.vocab, sizes.hidden)


def _llama(config: Mapping[str, Any], model_type: str, architecture: str, sizes: Sizes) -> Shapes:
    """Llama, Mistral, Qwen2, Qwen3 and the text-only Gemmas: gated MLP, RMS norms, separate projections."""
    prefix = "" if architecture.endswith("Model") else "model."
    shapes: Shapes = {f"{prefix}embed_tokens.weight": (sizes.vocab, sizes.hidden)}
    for layer in range(sizes.layers):
        shapes.update(_llama_block(f"{prefix}layers.{layer}", config, model_type, sizes))
    shapes[f"{prefix}norm.weight"] = (sizes.hidden,)
    _decoder_head(shapes, config, architecture, sizes)
    return shapes


def _llama_block(block: str, config: Mapping[str, Any], model_type: str, sizes: Sizes) -> Shapes:
    shapes: Shapes = {}
    bias = bool(config.get("attention_bias")) and model_type not in ("qwen2", "mistral")
    queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
    for part, out in (("q_proj", queries), ("k_proj", keys), ("v_proj", keys)):
        _put(shapes, f"{block}.self_attn.{part}", out, sizes.hidden, bias or model_type == "qwen2")
    _put(shapes, f"{block}.self_attn.o_proj", sizes.hidden, queries, bias)
    if model_type in ("qwen3", "gemma3_text"):
        shapes[f"{block}.self_attn.q_norm.weight"] = shapes[f"{block}.self_attn.k_norm.weight"] = (sizes.head_dim,)
    bias = bool(config.get("mlp_bias")) and model_type == "llama"
    for part in ("gate_proj", "up_proj"):
        _put(shapes, f"{block}.mlp.{part}", sizes.intermediate, sizes.hidden, bias)
    _put(shapes, f"{block}.mlp.down_proj", sizes.hidden, sizes.intermediate, bias)
    norms = ["input_layernorm", "post_attention_layernorm"]
    if model_type in ("gemma2", "gemma3_text"):
        norms += ["pre_feedforward_layernorm", "post_feedforward_layernorm"]
    shapes.update({f"{block}.{norm}.weight": (sizes.hidden,) for norm in norms})
    return shapes


def _falcon(config: Mapping[str, Any], model_type: str, architecture: str, sizes: Sizes) -> Shapes:
    """Falcon: fused projections; rw (alibi, biases), 7b (multi-query) and 40b (grouped) styles."""
    prefix = "" if architecture.endswith("Model") else "transformer."
    bias, new = bool(config.get("bias")), bool(config.get("new_decoder_architecture"))
    shapes: Shapes = {f"{prefix}word_embeddings.weight": (sizes.vocab, sizes.hidden)}
    fused = sizes.heads * sizes.head_dim + 2 * sizes.kv_heads * sizes.head_dim
    if not new and not config.get("multi_query", True):
        fused = 3 * sizes.hidden
    for layer in range(sizes.layers):
        block = f"{prefix}h.{layer}"
        _put(shapes, f"{block}.self_attention.query_key_value", fused, sizes.hidden, bias)
        _put(shapes, f"{block}.self_attention.dense", sizes.hidden, sizes.hidden, bias)
        _put(shapes, f"{block}.mlp.dense_h_to_4h", sizes.intermediate, sizes.hidden, bias)
        _put(shapes, f"{block}.mlp.dense_4h_to_h", sizes.hidden, sizes.intermediate, bias)
        for norm in _falcon_norms(config, new):
            _norm(shapes, f"{block}.{norm}", sizes.hidden)
    _norm(shapes, f"{prefix}ln_f", sizes.hidden)
    _decoder_head(shapes, config, architecture, sizes)
    return shapes


def _falcon_norms(config: Mapping[str, Any], new: bool) -> tuple[str, ...]:
    if new and (config.get("num_ln_in_parallel_attn") or 2) == 2:
        return ("ln_attn", "ln_mlp")
    parallel = config.get("parallel_attn", True)
    return ("input_layernorm",) if parallel else ("post_attention_layernorm", "input_layernorm")


def _gpt2(config: Mapping[str, Any], model_type: str, architecture: str, sizes: Sizes) -> Shapes:
    """GPT-2: ``Conv1D`` projections, stored as (in, out)."""
    prefix = "" if architecture.endswith("Model") and not architecture.endswith("HeadModel") else "transformer."
    hidden = sizes.hidden
    shapes: Shapes = {f"{prefix}wte.weight": (sizes.vocab, hidden), f"{prefix}wpe.weight": (sizes.max_length, hidden)}
    for layer in range(sizes.layers):
        block = f"{prefix}h.{layer}"
        _norm(shapes, f"{block}.ln_1", hidden)
        _norm(shapes, f"{block}.ln_2", hidden)
        for name, into, out in (
            ("attn.c_attn", hidden, 3 * hidden),
            ("attn.c_proj", hidden, hidden),
            ("mlp.c_fc", hidden, sizes.intermediate),
            ("mlp.c_proj", sizes.intermediate, hidden),
        ):
            shapes[f"{block}.{name}.weight"] = (into, out)
            shapes[f"{block}.{name}.bias"] = (out,)
    _norm(shapes, f"{prefix}ln_f", hidden)
    _decoder_head(shapes, config, "GPT2LMHead" if prefix and architecture.endswith("HeadModel") else architecture, sizes)
    return shapes


def _bert(config: Mapping[str, Any], model_type: str, architecture: str, sizes: Sizes) -> Shapes:
    """BERT: bare, with a masked-language head, or with a classifier."""
    prefix = "" if architecture in ("", "BertModel") else "bert."
    hidden = sizes.hidden
    shapes: Shapes = {
        f"{prefix}embeddings.word_embeddings.weight": (sizes.vocab, hidden),
        f"{prefix}embeddings.position_embeddings.weight": (sizes.max_length, hidden),
        f"{prefix}embeddings.token_type_embeddings.weight": (int(config.get("type_vocab_size", 2)), hidden),
    }
    _norm(shapes, f"{prefix}embeddings.LayerNorm", hidden)
    for layer in range(sizes.layers):
        block = f"{prefix}encoder.layer.{layer}"
        for part in ("query", "key", "value"):
            _put(shapes, f"{block}.attention.self.{part}", hidden, hidden, True)
        _put(shapes, f"{block}.attention.output.dense", hidden, hidden, True)
        _put(shapes, f"{block}.intermediate.dense", sizes.intermediate, hidden, True)
        _put(shapes, f"{block}.output.dense", hidden, sizes.intermediate, True)
        _norm(shapes, f"{block}.attention.output.LayerNorm", hidden)
        _norm(shapes, f"{block}.output.LayerNorm", hidden)
    _bert_head(shapes, prefix, config, architecture, sizes)
    return shapes


def _bert_head(shapes: Shapes, prefix: str, config: Mapping[str, Any], architecture: str, sizes: Sizes) -> None:
    if architecture == "BertForMaskedLM":
        _put(shapes, "cls.predictions.transform.dense", sizes.hidden, sizes.hidden, True)
        _norm(shapes, "cls.predictions.transform.LayerNorm", sizes.hidden)
        shapes["cls.predictions.bias"] = (sizes.vocab,)
        if not sizes.tied:
            shapes["cls.predictions.decoder.weight"] = (sizes.vocab, sizes.hidden)
        return
    _put(shapes, f"{prefix}pooler.dense", sizes.hidden, sizes.hidden, True)
    if architecture == "BertForSequenceClassification":
        _put(shapes, "classifier", _labels(config), sizes.hidden, True)


_FAMILIES: dict[str, Callable[[Mapping[str, Any], str, str, Sizes], Shapes]] = {
    **dict.fromkeys(("llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text"), _llama),
    "falcon": _falcon,
    "gpt2": _gpt2,
    "bert": _bert,
}
