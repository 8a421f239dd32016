"""Which number format the computation runs in, decided by the hardware unless the options say otherwise."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch

from ..errors import UsageError

_CPU_BF16 = ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16")
"""CPU features, any of which makes bfloat16 faster than float32."""


@dataclass(frozen=True, slots=True)
class Precision:
    """The number format of the forward and backward pass. Weights that train, and optimizer states, stay in float32.

    Attributes:
        dtype: ``bfloat16``, ``float16`` or ``float32``.
        device_type: ``cuda`` or ``cpu``.
    """

    _NAMES: ClassVar[dict[torch.dtype, Literal["bf16", "fp16", "fp32"]]] = {
        torch.bfloat16: "bf16",
        torch.float16: "fp16",
        torch.float32: "fp32",
    }
    dtype: torch.dtype
    device_type: str

    @property
    def name(self) -> Literal["bf16", "fp16", "fp32"]:
        """``bf16``, ``fp16`` or ``fp32``."""
        return self._NAMES[self.dtype]

    def autocast(self) -> Any:
        """A context in which matrix products run in ``dtype``."""
        if self.dtype == torch.float32:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, self.dtype)

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling, on for float16 only: its gradients would underflow."""
        return torch.amp.GradScaler(self.device_type, enabled=self.dtype == torch.float16)


def has_bf16(device: torch.device) -> bool:
    """Whether the device computes bfloat16 in hardware."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    features = torch.cpu.get_capabilities()
    return any(features.get(name) for name in _CPU_BF16)


def choose(device: torch.device, bf16: bool | None = None, fp16: bool | None = None) -> Precision:
    """The precision for ``device``.

    Args:
        bf16: true or false decide; none: where the hardware has it.
        fp16: true or false decide; none: on GPUs that lack bfloat16.

    Raises:
        UsageError: both are asked for.
    """
    if bf16 and fp16:
        raise UsageError("bf16 and fp16 are both true", "choose one of them")
    if fp16:
        return Precision(torch.float16, device.type)
    if bf16 or (bf16 is None and has_bf16(device)):
        return Precision(torch.bfloat16, device.type)
    if device.type == "cuda" and fp16 is None and not has_bf16(device):
        return Precision(torch.float16, device.type)
    return Precision(torch.float32, device.type)


def dtype_named(name: str, device: torch.device) -> torch.dtype:
    """The dtype called ``name``; ``auto`` is what `choose` takes for ``device``."""
    return choose(device).dtype if name == "auto" else getattr(torch, name)
