"""The dry run: a training step on tensors without contents, from ``config.json`` alone, to learn what memory it takes.

The model is built on the meta device, the method's own `prepare` is applied, and one optimizer step's micro-batches go forward and
backward through the real loss, attention and checkpointing code under fake tensors, which say that they live on the run's
device but hold nothing. Every storage that appears and disappears is counted, so the peak is that of the live tensors at
the moment it is highest. What kernels allocate inside themselves, and the heap's fragmentation, are not in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import torch
from torch import nn

from ..api import Encoded, Method, ModelSpec
from ..training import TrainingOptions
from . import attention
from .batches import IGNORED, Batch, collate
from .building import load_arguments, make_ready
from .forward import base_of
from .fourbit import pack_empty
from .loading import empty_base
from .losses import LossFunction
from .precision import Precision
from .weightless import Counting

_ADAM_BYTES = 8
"""Two float32 moments a trained parameter; they are counted, not made."""


class DryRun(msgspec.Struct, kw_only=True):
    """What a training step takes on its device, in bytes of live tensors at the peak.

    Attributes:
        parts: as `planner.memory.PARTS`, without the overhead, which tensors do not tell; they sum to ``total_bytes``.
        trainable_parameters: exact.
        total_parameters: of base and adapter, quantised ones counted once each.
        tokens: of the micro-batch.
        packed: whether its documents lay end to end.
        seconds: that it took.
    """

    total_bytes: int
    parts: dict[str, int]
    trainable_parameters: int
    total_parameters: int
    tokens: int
    packed: bool
    seconds: float


def dry_run(
    spec: ModelSpec,
    method: Method,
    method_options: Any,
    options: TrainingOptions,
    examples: Sequence[Encoded],
    *,
    device: torch.device,
    precision: Precision,
) -> DryRun:
    """Train one step on ``examples`` without weights and without contents.

    Args:
        spec: made for the task (`planner.tasks.for_task`); its folder needs ``config.json`` only.
        examples: of the largest micro-batch.
        device: that the run computes on.

    Raises:
        Incompatible: the method cannot be put on this architecture.
    """
    started = time.perf_counter()
    arguments = load_arguments(method, method_options, options, spec.config, device)
    base = empty_base(spec, dtype=precision.dtype, load_arguments=arguments)
    with torch.device("meta"):
        own = {id(parameter) for parameter in base.parameters()}
        model = method.prepare(base, method_options, spec.task)  # pyright: ignore[reportArgumentType]
        make_ready(model, base, options)
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    masters = 0
    if options.master_copy == "fp32":
        masters = sum(parameter.numel() for parameter in trained) * 4
        for parameter in trained:
            parameter.data = parameter.data.to(precision.dtype)
    model.train()
    packed = options.packing and method.packs and spec.task == "causal-lm" and attention.switch(base_of(model))
    batches = collate(examples, packed=packed, pad_id=0, device=torch.device("cpu"))
    counting = Counting(device)
    with counting:
        held = _give_device(model, device, own)
        held_bytes = counting.peak = counting.now
        _step(model, [_emptied(batch, device) for batch in batches], options, precision, counting)
    trainable = sum(parameter.numel() for parameter in trained)
    gradients = counting.gradients_at_peak
    parts = {
        "weights": held["weights"], "gradients": gradients, "master_weights": masters, "optimizer": trainable * _ADAM_BYTES,
        "activations": counting.peak - held_bytes - gradients, "quantisation": held["quantisation"], "adapter": held["adapter"],
    }  # fmt: skip
    added = method.footprint(spec, method_options).added_parameters
    return DryRun(
        total_bytes=sum(parts.values()), parts=parts, trainable_parameters=trainable, total_parameters=spec.parameters + added,
        tokens=sum(batch.tokens for batch in batches), packed=packed, seconds=time.perf_counter() - started,
    )  # fmt: skip


def placeholder(length: int, loss_tokens: int, task: str = "causal-lm") -> Encoded:
    """An example of which only the sizes matter; its last tokens carry loss, or it has a class."""
    if task == "seq-cls":
        return Encoded([0] * length, [IGNORED] * length, label=0)
    carried = min(loss_tokens, length - 1)
    return Encoded([0] * length, [IGNORED] * (length - carried) + [0] * carried)


def _give_device(model: nn.Module, device: torch.device, own: set[int]) -> dict[str, int]:
    """Make every parameter and buffer one without contents; 4-bit weights with their constants.

    Args:
        own: ids of the parameters that were the base's.

    Returns:
        Bytes by part.
    """
    held = {"weights": 0, "quantisation": 0, "adapter": 0}
    known: dict[int, torch.Tensor] = {}
    for module in model.modules():
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None:
                    continue
                if id(tensor) not in known:
                    if getattr(tensor, "quant_state", None) is None:
                        new = _without_contents(tensor, device)
                    else:
                        new, constants = pack_empty(tensor, device)
                        held["quantisation"] += constants
                    known[id(tensor)] = new
                    part = "weights" if id(tensor) in own or tensors is module._buffers else "adapter"
                    held[part] += new.numel() * new.itemsize
                tensors[name] = known[id(tensor)]  # pyright: ignore[reportArgumentType]
    return held


def _without_contents(tensor: torch.Tensor, device: torch.device) -> torch.Tensor:
    empty = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
    return nn.Parameter(empty, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else empty


def _emptied(batch: Batch, device: torch.device) -> Batch:
    names = ("input_ids", "position_ids", "attention_mask", "predicts", "targets")
    values = {name: _without_contents(tensor, device) for name in names if (tensor := getattr(batch, name)) is not None}
    return replace(batch, **values)  # pyright: ignore[reportArgumentType]


def _step(model: Any, batches: list[Batch], options: TrainingOptions, precision: Precision, counting: Counting) -> None:
    """Forward and backward of a step. Under accumulation the second micro-batch finds the gradients of the first."""
    loss_function = LossFunction(model, precision, trial=False)
    counting.weight_shapes = {p.shape for p in model.parameters() if p.requires_grad and p.ndim == 2}
    hooks = [p.register_post_accumulate_grad_hook(counting.claim_gradient) for p in model.parameters() if p.requires_grad]
    for batch in batches * (2 if options.gradient_accumulation_steps > 1 else 1):
        counting.true_positions, counting.answer = len(batch.targets), batch.attention_mask is None
        with precision.autocast():
            loss = loss_function(batch)
        (loss / 1.0).backward()
        del loss
    for hook in hooks:
        hook.remove()
