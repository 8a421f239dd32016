"""Model FLOPs utilisation: the arithmetic that training had to do, over what the devices could have done meanwhile.

As in PaLM (appendix B of https://arxiv.org/abs/2204.02311), with the arithmetic of the method instead of 6 N a token, and without that of
attention: see `planner.speed.flops_per_token`.
"""

from __future__ import annotations

import torch

from ..api import Footprint, ModelSpec
from ..devices.peaks import peak_flops
from ..planner.speed import flops_per_token
from .parallel import World
from .precision import Precision


class Utilisation:
    """Counts the arithmetic of a run's steps, over all its processes.

    Args:
        device: of this process.

    Attributes:
        total: floating-point operations counted so far.
        peak: those that the devices of all processes can do in a second; ``None`` where it is not known of one (CPUs, unknown GPUs).
    """

    def __init__(self, spec: ModelSpec, footprint: Footprint, device: torch.device, precision: Precision, world: World) -> None:
        self._spec, self._footprint = spec, footprint
        self.total = 0.0
        own = peak_flops(torch.cuda.get_device_name(device), precision.name) if device.type == "cuda" else None
        peaks = [peak for (peak,) in world.gather(own or 0.0)]
        self.peak = sum(peaks) if all(peaks) else None

    def count(self, tokens: int, loss_tokens: int, examples: int) -> float:
        """Add a step of all processes and return its floating-point operations.

        Args:
            tokens: without padding.
            loss_tokens: those that went through the output head; 0 for a classifier.
            examples: in front of each stand the method's virtual tokens.
        """
        computed = tokens + examples * self._footprint.virtual_tokens
        flops = flops_per_token(self._spec, self._footprint, loss_tokens / computed) * computed
        self.total += flops
        return flops

    def share(self, flops: float, seconds: float) -> float | None:
        """The utilisation, 0 to 1, of ``flops`` done in so many seconds; ``None`` where the peak is not known."""
        return flops / seconds / self.peak if self.peak and seconds else None
