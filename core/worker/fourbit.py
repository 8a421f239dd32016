"""4-bit weights without contents: the tensors that bitsandbytes would make of a weight, by their sizes."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_OUTER_BLOCK = 256
"""Scales of blocks that share a scale under double quantisation."""


def pack_empty(weight: Any, device: torch.device) -> tuple[Any, int]:
    """A ``Params4bit`` that is not packed yet, or is packed without contents, as it would be on ``device``.

    Returns:
        (the payload, its ``quant_state`` attached; bytes of the constants in that).
    """
    from bitsandbytes.functional import QuantState

    known = weight.quant_state
    shape, dtype = (known.shape, known.dtype) if known is not None else (weight.shape, weight.dtype)
    elements = shape.numel()
    blocks, nested = -(-elements // weight.blocksize), weight.compress_statistics
    absmax = torch.empty(blocks, dtype=torch.uint8 if nested else torch.float32, device=device)
    code = torch.empty(16, device=device)
    constants, outer, offset = [absmax, code], None, None
    if nested:
        scales, dynamic = torch.empty(-(-blocks // _OUTER_BLOCK), device=device), torch.empty(256, device=device)
        outer, offset = QuantState(scales, code=dynamic, blocksize=_OUTER_BLOCK, dtype=torch.float32), torch.empty((), device=device)
        constants += [scales, dynamic, offset]
    payload: Any = nn.Parameter(torch.empty(-(-elements // 2), 1, dtype=torch.uint8, device=device), requires_grad=False)
    payload.quant_state = QuantState(absmax, shape, code, weight.blocksize, weight.quant_type, dtype, offset=offset, state2=outer)
    return payload, sum(tensor.numel() * tensor.itemsize for tensor in constants)


def pack_layer(layer: Any) -> None:
    """Pack a ``Linear4bit`` on the meta device in place, so that methods can ask for its dequantised weight."""
    payload, _ = pack_empty(layer.weight, torch.device("meta"))
    layer.weight.data, layer.weight.quant_state, layer.weight.bnb_quantized = payload.data, payload.quant_state, True
    layer.quant_state = payload.quant_state
