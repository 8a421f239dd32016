"""Peak memory of a training run by part: an instant formula from shapes alone.

    peak = weights + optimizer + max(activations + logits + gradient of the head, all gradients)

because gradients are freed before the forward pass: where activations are largest, only the output head's gradient exists
yet; where the gradients are complete, the activations are gone. Under gradient accumulation the gradients stay.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from ..api import Footprint, Place, places
from ..modelspec import ModelSpec
from ..training import TrainingOptions
from .activations import Regime, activation_bytes, attention_dropout
from .record import Record
from .workload import Workload

MasterCopy = Literal["none", "fp32"]
"""As `TrainingOptions.master_copy`."""

PARTS = ("weights", "gradients", "master_weights", "optimizer", "activations", "quantisation", "adapter", "overhead")

CUDA_CONTEXT = 500_000_000
"""What a process holds on a GPU before it allocates anything: driver context and library workspaces."""

CPU_BASELINE = 60_000_000
"""Growth of a CPU trainer's anonymous memory that no tensor explains: threads, oneDNN's scratch space, tokenizer and data."""

_QUANTISED = 2.0
"""Bytes a quantised parameter in a CPU trainer's heap beyond its live tensors: every use expands a weight."""

_PER_LENGTH, _MOST_LENGTHS = 40_000_000, 16
"""Bytes for each length, in steps of 64 tokens, that documents are filled up to: kernels, and freed blocks that stay in the heap
(it is never given back while a run lasts, on purpose: page faults cost more). Above 1024 tokens attention is fused."""

CPU_SPREAD = (0.7, 1.4)
"""Peaks measured on CPUs over the estimate, nearly from least to most (docs/design/planner.md)."""

ADAM_BYTES = {"adamw": 8.0, "paged_adamw_32bit": 8.0, "paged_adamw_8bit": 2.03}
"""Of the two moments of a trained parameter, in float32 or in 8 bits with a scale for every 256. Paged ones are counted whole,
although the driver may move them out when memory runs short."""

_SHARDED = ("weights", "gradients", "master_weights", "optimizer", "quantisation", "adapter")
"""Parts that sharding over devices divides; every device keeps its own activations and overhead."""


class Plan(msgspec.Struct, kw_only=True):
    """What a run will need, and whether it fits.

    Attributes:
        total_bytes: the expected peak; the sum of ``parts``.
        parts: bytes by part (`PARTS`) at the moment of the peak: gradients that are not there yet, or activations that are
            gone by then, are not in it.
        devices_needed: devices of ``memory_bytes`` over which the run would have to be sharded; ``None`` where no number
            is enough (one micro-batch's activations do not fit).
        fits: whether ``total_bytes`` is within ``memory_bytes``.
        advice: sentences: why it does not fit, and what would, with the bytes each gives.
        memory_bytes: what was planned for: asked for, or free on the device; on a CPU that several processes share, a process's part.
        low_bytes: the least peak expected; on GPUs close to ``total_bytes``, on CPUs the heap's fragmentation spreads it.
        high_bytes: the greatest.
        tokens: of the largest micro-batch.
        precision: of the computation, ``bf16``, ``fp16`` or ``fp32``.
        device: id of the device planned for, empty for a memory size alone.
        record: how past plans agreed with runs on this kind of device, and what the overhead of this plan owes to them.
    """

    method: str
    total_bytes: int
    parts: dict[str, int]
    devices_needed: int | None
    fits: bool
    advice: list[str]
    memory_bytes: int
    low_bytes: int
    high_bytes: int
    tokens: int
    trainable_parameters: int
    total_parameters: int
    precision: str
    device: str = ""
    record: Record = Record()


def estimate(
    model: ModelSpec,
    footprint: Footprint,
    training: TrainingOptions,
    load: Workload,
    *,
    precision: str = "bf16",
    master_copy: MasterCopy = "none",
    on_cpu: bool = False,
) -> dict[str, int]:
    """Bytes by part at the peak.

    Args:
        precision: of the computation, under autocast; frozen weights are held in it.
        master_copy: ``none``: weights that train are held in float32 themselves, as the worker does; ``fp32``: they are
            held in 16 bits beside a float32 master copy, with 16-bit gradients (classical mixed precision).
        on_cpu: whether the peak is that of a CPU process.
    """
    trained_base = footprint.trainable_parameters - footprint.added_parameters
    weight_bytes = 2 if master_copy == "fp32" else 4
    compute = 4 if precision == "fp32" else 2
    frozen = max(0, model.parameters - trained_base - footprint.quantized_parameters)
    weights = round(
        trained_base * weight_bytes + frozen * compute + footprint.quantized_parameters * footprint.quantized_bytes_per_parameter
    )
    gradients = trained_base * weight_bytes + footprint.added_parameters * 4
    regime = _regime(model, footprint, training, precision, master_copy, attended_plainly=on_cpu and load.packed)
    activations, logits = activation_bytes(model, regime, load.longer(footprint.virtual_tokens))
    stays = training.gradient_accumulation_steps > 1 or load.passes > 1
    early = gradients if stays else model.vocab_size * model.hidden_size * weight_bytes * regime.trains_head
    at_activations = activations + logits + early >= gradients
    parts = {
        "weights": weights,
        "gradients": early if at_activations else gradients,
        "master_weights": trained_base * 4 if master_copy == "fp32" else 0,
        "optimizer": round(footprint.trainable_parameters * ADAM_BYTES[training.optim]),
        "activations": activations + logits if at_activations else 0,
        "quantisation": round(footprint.quantized_parameters * footprint.constants_bytes_per_parameter),
        "adapter": footprint.added_parameters * 4,
    }
    parts["overhead"] = _cpu_overhead(footprint, load) if on_cpu else CUDA_CONTEXT
    return parts


def _cpu_overhead(footprint: Footprint, load: Workload) -> int:
    return round(CPU_BASELINE + _QUANTISED * footprint.quantized_parameters + _PER_LENGTH * min(load.distinct, _MOST_LENGTHS))


def _regime(
    model: ModelSpec, footprint: Footprint, training: TrainingOptions, precision: str, master_copy: MasterCopy, *, attended_plainly: bool
) -> Regime:
    compute = 4 if precision == "fp32" else 2
    trained = trained_tensors(model, footprint)
    places_trained = [place for place in places(model) if place.name in trained]
    trains_embeddings = any(place.is_embeddings(model) for place in places_trained)
    trains_head = any(place.part == "output" for place in places_trained)
    linears = [linear for linear in model.linears if f"{linear.name}.weight" in trained]
    adapted = footprint.adapted
    if adapted is None:
        adapted = frozenset(linear.name for linear in model.linears) if footprint.added_parameters else frozenset()
    held = 4 if master_copy == "none" else compute
    copied = sum(linear.in_features * linear.out_features for linear in linears) * (held != compute)
    return Regime(
        compute=compute,
        residual=held if trains_embeddings else compute,
        kept=adapted | {linear.name for linear in linears},
        trains_norms=any(place.is_gain for place in places_trained),
        trains_head=trains_head,
        first_block=_first_block(model, footprint, places_trained, trains_embeddings),
        adapter=_kept_by_adapter(model, footprint),
        copies=compute * (copied + footprint.added_parameters * (compute < 4)),
        head_copy=compute * model.vocab_size * model.hidden_size * (trains_head and held != compute),
        own_masks=footprint.own_masks,
        checkpointing=training.gradient_checkpointing,
        attention_matrix=_attention_matrix(model, precision) if attended_plainly or attention_dropout(model.config) else 0,
    )


def trained_tensors(model: ModelSpec, footprint: Footprint) -> frozenset[str]:
    """Names of the base's tensors that train."""
    if footprint.trained is not None:
        return footprint.trained
    everything = footprint.trainable_parameters - footprint.added_parameters > model.head_parameters
    return frozenset(model.parameter_tensors if everything else model.head)


def lowest_block(model: ModelSpec, footprint: Footprint) -> int:
    """Index of the lowest block that the backward pass reaches; the number of blocks where it reaches none."""
    trained = trained_tensors(model, footprint)
    places_trained = [place for place in places(model) if place.name in trained]
    return _first_block(model, footprint, places_trained, any(place.is_embeddings(model) for place in places_trained))


def _first_block(model: ModelSpec, footprint: Footprint, trained: list[Place], trains_embeddings: bool) -> int:
    """The lowest block that something trains in or below."""
    if footprint.added_parameters or trains_embeddings:
        return 0
    blocks = [model.num_hidden_layers - place.depth for place in trained if place.part == "block"]
    return min(blocks, default=model.num_hidden_layers)


def _kept_by_adapter(model: ModelSpec, footprint: Footprint) -> float:
    """Numbers that an adapter keeps of every token; by default what LoRA of the same size on all projections keeps."""
    if footprint.kept_per_token is not None:
        return footprint.kept_per_token
    width = sum(linear.in_features + linear.out_features for linear in model.linears)
    return len(model.linears) * footprint.added_parameters / width if width else 0.0


def _attention_matrix(model: ModelSpec, precision: str) -> int:
    """On a CPU, bytes kept of every pair of tokens and head (see `Regime`); ALiBi models keep to the fused kernel."""
    if attention_dropout(model.config) > 0:
        return 12
    return 2 if precision == "bf16" and not model.config.get("alibi") else 0


def devices_needed(parts: dict[str, int], memory_bytes: int) -> int | None:
    """Over how many devices the weights and states must be sharded for each device's share to fit; ``None``: no number will do."""
    sharded = sum(parts[name] for name in _SHARDED)
    left = memory_bytes - (sum(parts.values()) - sharded)
    if left <= 0:
        return None
    return max(1, math.ceil(sharded / left))


def human_bytes(count: int) -> str:
    """``8_800_000`` → ``8.8 MB``: decimal units, as the rest of the app shows."""
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 999.5:
            return f"{size:.0f} {unit}" if unit == "B" or size >= 99.95 else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def spread(total_bytes: int, on_cpu: bool) -> tuple[int, int]:
    """The least and the greatest peak to expect around an estimate."""
    low, high = CPU_SPREAD if on_cpu else (0.95, 1.1)
    return round(total_bytes * low), round(total_bytes * high)
