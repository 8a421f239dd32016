"""Starts of LoRA that must be computed: from the training data (EVA), or from what quantisation took away (LoftQ)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.lora.eva import initialize_lora_eva_weights

from ..api import WorkFailed
from ..planner.reading import CONV1D, read_model
from .batches import Batch
from .deltas import StoredTensors, stored_name
from .peft_support import ADAPTER

_BATCHES = 16
"""Batches that EVA looks at, again and again until its directions stand still."""

_MOST_PASSES = 400


def eva_start(model: Any, batches: Iterator[Batch], run: Callable[[Batch], Any]) -> None:
    """Start ``A`` with the directions in which the inputs of its projection vary most (https://arxiv.org/abs/2410.07170).

    Every projection keeps its rank: the paper's moving of ranks between projections is left out (AdaLoRA moves them by
    what the loss is sensitive to).

    Args:
        model: a ``PeftModel`` whose LoRA has ``init_lora_weights="eva"``.
        batches: of the training data; those with fewer tokens than the rank are no use and skipped.
        run: puts a batch through the model.

    Raises:
        WorkFailed: no batch has as many tokens as the rank, or the directions do not settle.
    """
    config = model.peft_config[ADAPTER]
    targets = config.target_modules
    seen = [batch for batch in islice(batches, 4 * _BATCHES) if batch.tokens >= config.r][:_BATCHES]
    if not seen:
        raise WorkFailed(f"init_lora_weights=eva needs batches of at least {config.r} tokens (the rank)", "raise the batch size")
    passes = 0

    def forward(_: Any, number: torch.Tensor) -> None:
        nonlocal passes
        passes += 1
        if passes > _MOST_PASSES:
            raise WorkFailed(f"init_lora_weights=eva did not settle in {_MOST_PASSES} passes", "take a lower r or another start")
        run(seen[int(number)])

    initialize_lora_eva_weights(
        model, [torch.tensor(number) for number in range(len(seen))], forward_fn=forward, show_progress_bar=False,
        prepare_model_inputs_fn=lambda number, _: seen[int(number)].attention_mask, prepare_layer_inputs_fn=_without_padding,
    )  # fmt: skip
    config.target_modules = targets


def _without_padding(inputs: Any, mask: torch.Tensor | None, _: str) -> torch.Tensor:
    """(tokens, features) of what a projection was given."""
    states = inputs[0] if isinstance(inputs, tuple) else inputs
    if mask is not None and states.ndim == 3 and states.shape[:2] == mask.shape:
        return states[mask.bool()]
    return states.reshape(-1, states.shape[-1])


@torch.no_grad()
def loftq_start(model: Any, folder: Path) -> None:
    """Start with the low-rank update that gives back most of what quantisation took (https://arxiv.org/abs/2310.08659).

    ``s B A`` is the best approximation of rank r of ``W - Q``, the stored weight less the quantised one. This is the first of
    LoftQ's alternating steps; further ones would change ``Q``, and the adapter would belong to a base that nobody has.

    Args:
        model: a ``PeftModel`` with LoRA on 4-bit projections.
        folder: of the base.
    """
    from bitsandbytes.functional import dequantize_4bit
    from bitsandbytes.nn import Linear4bit

    transposed = read_model(folder).model_type in CONV1D
    base = model.get_base_model()
    with StoredTensors(folder) as stored:
        for name, module in base.named_modules():
            if not isinstance(module, LoraLayer) or not isinstance(module.base_layer, Linear4bit):
                continue
            layer: Any = module
            own = stored_name(f"{name}.weight", base.base_model_prefix, stored.names)
            if own is None:
                raise WorkFailed(f"{folder}: no weight of {name} to compare its 4-bit form with")
            weight = layer.base_layer.weight
            exact = stored[own].to(weight.device, torch.float32)
            error = (exact.T if transposed else exact) - dequantize_4bit(weight.data, weight.quant_state).to(torch.float32)
            rank, scale = layer.r[ADAPTER], layer.scaling[ADAPTER]
            left, values, right = torch.linalg.svd(error, full_matrices=False)
            root = (values[:rank] / scale).sqrt()
            layer.lora_A[ADAPTER].weight.copy_(root[:, None] * right[:rank])
            layer.lora_B[ADAPTER].weight.copy_(left[:, :rank] * root)
