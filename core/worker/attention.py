"""Packing: several documents end to end in one row, none of which sees another.

`enable` switches a model to an attention function that is told the documents' lengths and attends inside each of them
separately, so that no (tokens × tokens) mask is ever built and no work is spent across documents. Calls without lengths
(generation, padded batches) behave as ordinary SDPA. A model qualifies only if a trial shows that it keeps documents apart:
architectures with positions of their own (ALiBi) or without an exchangeable attention do not, and are padded instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

from .precision import Precision

NAME = "per_document"

_TRIAL_LENGTHS = (5, 9, 7)

_LENGTH_MULTIPLE = 64
"""Documents are filled up to a multiple of this for plain attention: kernels and heap blocks of few sizes are used again, where
one of every length made memory grow all run long (1126 → 620 MB after 25 steps of long answers, at the same speed)."""

_PLAIN_LENGTH = 1024
"""Longer documents go through the fused kernel, whose memory does not grow with the square of the length."""


def per_document_attention(
    module: nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    dropout: float = 0.0,
    scaling: float | None = None,
    document_lengths: Sequence[int] | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention inside each document.

    Args:
        query: (1, heads, tokens, head size); ``key`` and ``value``: (1, key-value heads, tokens, head size).
        document_lengths: tokens of each document, in order, summing to ``tokens``; none: ordinary SDPA.

    Returns:
        (1, tokens, heads, head size), and no attention weights.
    """
    if document_lengths is None:
        if attention_mask is None and sliding_window is not None and key.shape[2] > sliding_window:
            attention_mask = _window_mask(key.shape[2], sliding_window, key.device)[-query.shape[2] :]
        return sdpa_attention_forward(module, query, key, value, attention_mask, dropout=dropout, scaling=scaling, **kwargs)
    if kwargs.get("softcap") is not None or kwargs.get("s_aux") is not None or kwargs.get("position_bias") is not None:
        raise NotImplementedError("attention with soft caps, sinks or position biases is not computed per document")
    if torch.is_autocast_enabled(query.device.type):
        query, key, value = (tensor.to(torch.get_autocast_dtype(query.device.type)) for tensor in (query, key, value))
    parts = []
    for q, k, v in zip(query.split(document_lengths, 2), key.split(document_lengths, 2), value.split(document_lengths, 2)):
        length = q.shape[2]
        if sliding_window is not None and length > sliding_window:
            window = _window_mask(length, sliding_window, q.device)
            part = scaled_dot_product_attention(q, k, v, attn_mask=window, dropout_p=dropout, scale=scaling, enable_gqa=True)
        elif q.device.type == "cpu" and q.dtype == torch.bfloat16 and length <= _PLAIN_LENGTH and not dropout:
            gap = -length % _LENGTH_MULTIPLE
            part = _plain_attention(pad(q, (0, 0, 0, gap)), pad(k, (0, 0, 0, gap)), pad(v, (0, 0, 0, gap)), scaling)[:, :, :length]
        else:
            grouped = k.shape[1] != q.shape[1]
            part = scaled_dot_product_attention(q, k, v, dropout_p=dropout, is_causal=True, scale=scaling, enable_gqa=grouped)
        parts.append(part.transpose(1, 2))
    return torch.cat(parts, 1), None


def _plain_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, scaling: float | None) -> torch.Tensor:
    """Causal attention as two matrix products: in bfloat16 on CPUs twice as fast as the fused kernel, forward and backward.

    Shapes as in `per_document_attention`; heads of one group share their key-value head by being stacked along the tokens.
    """
    _, heads, length, size = query.shape
    groups = heads // key.shape[1]
    mask = torch.full((length, length), float("-inf"), dtype=query.dtype).triu_(1).repeat(groups, 1)
    stacked = query.reshape(-1, groups * length, size)
    scores = torch.baddbmm(mask, stacked, key[0].transpose(1, 2), alpha=scaling if scaling is not None else size**-0.5)
    return torch.bmm(scores.softmax(-1), value[0]).view(1, heads, length, size)


def _window_mask(length: int, window: int, device: torch.device) -> torch.Tensor:
    """Which of ``length`` keys each query sees under a sliding window: (length, length) booleans."""
    positions = torch.arange(length, device=device)
    distance = positions[:, None] - positions[None, :]
    return (distance >= 0) & (distance < window)


def _mask(*, q_length: int, kv_length: int, attention_mask: torch.Tensor | None = None, use_vmap: bool = False, **kwargs: Any) -> Any:
    """No mask for whole causal rows (the attention function knows the documents), the ordinary one for anything else."""
    if attention_mask is None and q_length == kv_length and not use_vmap:
        return None
    return sdpa_mask(q_length=q_length, kv_length=kv_length, attention_mask=attention_mask, use_vmap=use_vmap, **kwargs)


def enable(model: Any, precision: Precision) -> bool:
    """Switch ``model`` to per-document attention if a trial shows that packed documents stay apart.

    Returns:
        Whether it was switched; if not, the model is as before and its batches must be padded.
    """
    if not _may_switch(model):
        return False
    before = model.config._attn_implementation
    training = model.training
    model.eval()
    try:
        with precision.autocast():
            apart = _documents_stay_apart(model)
        if apart:
            return True
        model.set_attn_implementation(before)
        return False
    finally:
        model.train(training)


def switch(model: Any) -> bool:
    """Switch ``model`` without a trial, where nothing speaks against it: for models without contents, which cannot be tried."""
    if _may_switch(model):
        model.set_attn_implementation(NAME)
        return True
    return False


def _may_switch(model: Any) -> bool:
    AttentionInterface.register(NAME, per_document_attention)
    AttentionMaskInterface.register(NAME, _mask)
    return getattr(model, "_supports_attention_backend", False) and not getattr(model.config, "alibi", False)


@torch.no_grad()
def _documents_stay_apart(model: Any) -> bool:
    """Whether a document's logits are those of the model as it was, with neighbours and with other neighbours; switches it."""
    generator = torch.Generator().manual_seed(0)
    documents = [torch.randint(0, model.config.vocab_size, (length,), generator=generator) for length in _TRIAL_LENGTHS]
    others = [documents[0].flip(0), documents[1], documents[2].flip(0)]
    device = next(model.parameters()).device
    alone = model(input_ids=documents[1][None].to(device), use_cache=False).logits[0].float()
    model.set_attn_implementation(NAME)
    try:
        first, second = (_logits(model, pack)[_TRIAL_LENGTHS[0] : -_TRIAL_LENGTHS[2]] for pack in (documents, others))
    except (NotImplementedError, TypeError, ValueError):
        return False
    return _difference(first, second, alone) <= 1e-3 and _difference(first, alone, alone) <= 0.05


def _difference(first: torch.Tensor, second: torch.Tensor, scale: torch.Tensor) -> float:
    """Root mean square of the difference, in standard deviations of ``scale``: the largest of a million rounding errors says nothing."""
    return ((first - second).square().mean().sqrt() / scale.std()).item()


def _logits(model: Any, documents: Sequence[torch.Tensor]) -> torch.Tensor:
    """Float32 logits (tokens, vocabulary) of documents in one packed row."""
    device = next(model.parameters()).device
    lengths = [len(document) for document in documents]
    output = model(
        input_ids=torch.cat(list(documents))[None].to(device),
        position_ids=torch.cat([torch.arange(length) for length in lengths])[None].to(device),
        document_lengths=lengths,
        use_cache=False,
    )
    return output.logits[0].float()
