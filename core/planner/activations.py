"""What the forward pass keeps for the backward pass, counted per block from the shapes of the model.

The counts follow what the worker's loop really saves under autocast: every projection that trains, or that an adapter sits
on, keeps its input in the computing precision; a norm keeps its input in float32; attention keeps queries, keys, values and
its output, document by document, so that no (tokens × tokens) matrix exists; a gated MLP keeps three vectors of its width.
``docs/design/planner.md`` compares them with measured runs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from ..modelspec import LinearSpec, ModelSpec
from .workload import Workload

_SLICE_BYTES = 16 * 2**20
"""Of the float32 logits that the worker makes at a time (``core/worker/losses.py``)."""

_WHOLE_LOGITS_BYTES = 12
"""Per loss token and vocabulary entry where logits are not sliced: float32 logits, their log-softmax and its gradient."""

AFTER_THE_HEAD = ("final_logit_softcapping", "logit_scale", "logits_scaling")
"""Settings of models that change logits after the output head, which rules slices out."""

_OUTPUT_PROJECTION = re.compile(r"(?:o_proj|out_proj|down_proj|c_proj|dense_4h_to_h|output\.dense|self_attention\.dense|fc2|wo|w2)$")
_NORM = re.compile(r"\.0\..*(?:norm|ln)[^.]*\.weight$", re.IGNORECASE)
"""A norm of block 0."""

_UNPACKED = frozenset({"falcon", "bloom", "mpt"})
"""Model types whose attention cannot be exchanged."""

_RMS_NORM = frozenset({"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma2", "gemma3_text", "phi3"})


@dataclass(frozen=True, slots=True)
class Regime:
    """How the numbers are held while training, and what of the model the backward pass goes through.

    Attributes:
        compute: bytes of an element in matrix products: 2 under bf16 and fp16, 4 under fp32.
        residual: bytes of an element of the residual stream: that of the embeddings.
        kept: names of the projections whose inputs are kept: they train, or an adapter sits on them.
        trains_norms: whether norms train.
        trains_head: whether the output head over the vocabulary trains.
        first_block: the lowest block that the backward pass goes through.
        adapter: numbers that an adapter keeps of every token, over all blocks.
        copies: bytes of the copies that autocast makes of float32 weights inside the blocks.
        head_copy: bytes of that of the output head.
        own_masks: whether the adapter makes attention's mask anew in every block.
        checkpointing: whether blocks keep their input only and are computed again in the backward pass.
        attention_matrix: bytes that attention keeps of every pair of tokens and head: 0 in fused kernels, which CPUs leave for
            dropout (12: weights before and after it, and its mask) and for packed short documents in bf16 (2: the weights).
    """

    compute: int
    residual: int
    kept: frozenset[str]
    trains_norms: bool
    trains_head: bool
    first_block: int
    adapter: float
    copies: int
    head_copy: int
    own_masks: bool
    checkpointing: bool
    attention_matrix: int


def activation_bytes(model: ModelSpec, regime: Regime, load: Workload) -> tuple[int, int]:
    """Bytes kept between forward and backward.

    Returns:
        (activations, the loss). With checkpointing the recomputed block competes with the loss, so the larger of the two is
        in the second.
    """
    blocks = _blocks(model, regime, load)
    hidden, count = model.hidden_size, model.num_hidden_layers
    ends = load.tokens * hidden * (4 + (4 if regime.trains_norms else 0))
    loss = _loss_bytes(model, regime, load)
    adapter = round(regime.compute * regime.adapter * load.tokens)
    if regime.checkpointing:
        kept = count * load.tokens * hidden * regime.residual
        block = max(blocks, default=0) + (adapter + regime.copies) // max(1, len(blocks)) + _backward_bytes(model, regime, load)
        return kept + ends + regime.head_copy, max(loss, block)
    return sum(blocks) + adapter + ends + regime.copies + regime.head_copy, loss


def _loss_bytes(model: ModelSpec, regime: Regime, load: Workload) -> int:
    """Hidden states of the loss tokens and their gradient, slices of logits, and a slice's share of the head's gradient
    before it is added to the rest (which the caller counts)."""
    hidden = 2 * load.loss_tokens * model.hidden_size * regime.residual
    logits = 4 * load.loss_tokens * model.vocab_size
    if any(model.config.get(name) for name in AFTER_THE_HEAD):
        return hidden + _WHOLE_LOGITS_BYTES * logits // 4
    share = 2 * model.vocab_size * model.hidden_size * regime.compute if regime.trains_head and load.loss_tokens else 0
    return hidden + max(_slices(logits, regime.compute), share)


def _slices(logits: int, compute: int) -> int:
    """Of float32 logits made a slice at a time: a slice and its exponentials; from the second on beside the last one's gradient."""
    first = min(_SLICE_BYTES, logits)
    second = min(_SLICE_BYTES, logits - first)
    beside = first + (first // 2 if compute < 4 else 0)
    return max(2 * first, beside + 2 * second)


def _blocks(model: ModelSpec, regime: Regime, load: Workload) -> list[int]:
    """Bytes that each block keeps, from the lowest that the backward pass goes through."""
    by_block: dict[int, list[LinearSpec]] = {}
    for linear in model.linears:
        by_block.setdefault(linear.block, []).append(linear)
    known: dict[tuple[bool, ...], int] = {}
    sizes = []
    for number in sorted(by_block)[regime.first_block :]:
        linears = by_block[number]
        flags = tuple(linear.name in regime.kept for linear in linears)
        if flags not in known:
            known[flags] = _block_bytes(model, regime, load, linears)
        sizes.append(known[flags])
    return sizes


def _block_bytes(model: ModelSpec, regime: Regime, load: Workload, linears: list[LinearSpec]) -> int:
    """Bytes that one block keeps."""
    kept = [linear for linear in linears if linear.name in regime.kept]
    per_token = (
        _linear_inputs(kept, regime, shared=model.model_type not in _RMS_NORM)
        + _norms(model, regime)
        + _attention(model, regime, load)
        + _mlp(model, linears, regime)
    )
    if _dropout(model.config):
        per_token += 2 * regime.compute * model.hidden_size
    return round(per_token * load.tokens)


def _linear_inputs(linears: list[LinearSpec], regime: Regime, *, shared: bool) -> float:
    """Inputs of the projections. Those that read the same input share it; under autocast each casts its own of float32 states."""
    if regime.compute < 4 and not (shared and regime.residual == regime.compute):
        return regime.compute * sum(linear.in_features for linear in linears)
    seen: dict[tuple[str, int, bool], int] = {}
    for linear in linears:
        ends = bool(_OUTPUT_PROJECTION.search(linear.name))
        seen[(linear.name.rsplit(".", 1)[0], linear.in_features, ends)] = linear.in_features
    return regime.compute * sum(seen.values())


def _norms(model: ModelSpec, regime: Regime) -> float:
    """Inputs of the norms: RMS norms compute in float32 and, where they train, keep the normalised vector as well."""
    count = _norm_count(model)
    if model.model_type in _RMS_NORM:
        return count * model.hidden_size * (8 if regime.trains_norms else 4)
    return count * model.hidden_size * regime.residual


def _norm_count(model: ModelSpec) -> int:
    """Norms of the residual stream's width in one block."""
    one = (model.hidden_size,)
    return sum(tensor.shape == one and bool(_NORM.search(name)) for name, tensor in model.tensors.items()) or 2


def _attention(model: ModelSpec, regime: Regime, load: Workload) -> float:
    head = model.config.get("head_dim") or model.hidden_size // model.num_attention_heads
    queries, keys = model.num_attention_heads * head, model.num_key_value_heads * head
    matrix = regime.attention_matrix * model.num_attention_heads * load.attended + regime.compute * _mask(model, regime, load)
    if regime.attention_matrix > regime.compute:
        return 4 * 3 * queries + matrix
    return regime.compute * (2 * queries + 2 * keys) + matrix


def _mlp(model: ModelSpec, linears: list[LinearSpec], regime: Regime) -> float:
    """What lies between the MLP's projections; the last projection's input is counted with the projections."""
    width = model.intermediate_size
    if any("gate" in linear.suffix for linear in linears):
        return 3 * regime.compute * width
    if model.model_type == "falcon":  # its projections add their bias outside the matrix product, in the weights' precision
        return width * regime.residual
    if str(model.config.get("activation_function") or model.config.get("hidden_act")) in ("gelu_new", "gelu_fast"):
        return 4 * regime.compute * width  # written out in elementary functions
    return regime.compute * width


def _backward_bytes(model: ModelSpec, regime: Regime, load: Workload) -> int:
    """Gradients that exist beside all that a block keeps while it is gone through backwards: most in its MLP."""
    return regime.compute * load.tokens * (2 * model.intermediate_size + 3 * model.hidden_size)


def _mask(model: ModelSpec, regime: Regime, load: Workload) -> float:
    """Numbers of the mask that a block keeps, for every token: the position biases of ALiBi, which blocks share, or where padding is."""
    if model.config.get("alibi"):
        return model.num_attention_heads * load.longest / (1 if regime.own_masks else model.num_hidden_layers)
    return load.longest if load.gaps else 0.0


def keeps_documents_apart(model: ModelSpec) -> bool:
    """Whether the worker can pack documents for this model (``core/worker/attention.py`` tries it; this is what it finds)."""
    return model.task == "causal-lm" and model.model_type not in _UNPACKED and not model.config.get("alibi")


def attention_dropout(config: Mapping[str, object]) -> float:
    """The dropout on attention weights that the model's configuration asks for."""
    names = ("attention_dropout", "attn_pdrop", "attention_probs_dropout_prob")
    return next((float(config[name]) for name in names if isinstance(config.get(name), (int, float))), 0.0)  # type: ignore[arg-type]


def _dropout(config: Mapping[str, object]) -> bool:
    return any(config.get(name) for name in ("resid_pdrop", "hidden_dropout", "hidden_dropout_prob"))
