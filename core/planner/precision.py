"""Which precision the worker will compute in, known without torch. Agrees with ``core/worker/precision.py`` (a test compares)."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Literal

from ..devices import Device
from ..training import TrainingOptions

Precision = Literal["bf16", "fp16", "fp32"]

_CPU_BF16 = frozenset({"avx512_bf16", "amx_bf16", "bf16"})
_GPU_BF16 = (8, 0)
"""Compute capability from which NVIDIA GPUs have bfloat16 (Ampere)."""


def choose(training: TrainingOptions, device: Device | None) -> Precision:
    """The precision of the forward and backward pass on ``device`` (none: a present-day GPU)."""
    if training.fp16:
        return "fp16"
    if training.bf16:
        return "bf16"
    has_bf16 = device is None or _has_bf16(device)
    if has_bf16 and training.bf16 is None:
        return "bf16"
    on_gpu = device is None or device.kind == "cuda"
    return "fp16" if on_gpu and not has_bf16 and training.fp16 is None else "fp32"


def _has_bf16(device: Device) -> bool:
    if device.kind == "cuda":
        return device.compute_capability is None or device.compute_capability >= _GPU_BF16
    return _cpu_has_bf16()


@cache
def _cpu_has_bf16() -> bool:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return False
    for line in lines:
        name, _, words = line.partition(":")
        if name.strip() in ("flags", "Features"):
            return not _CPU_BF16.isdisjoint(words.split())
    return False
