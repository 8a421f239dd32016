"""Bottleneck adapters (https://arxiv.org/abs/1902.00751, https://arxiv.org/abs/2005.00052, https://arxiv.org/abs/2110.04366)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.api import ModelSpec, Task, option
from .parts import BottleneckOptions, TunerMethod, bad_layers, bottleneck_config, bottleneck_parameters, norm_parameters


@dataclass(frozen=True)
class AdapterOptions(BottleneckOptions):
    """Options of `Adapter`."""

    layer_norms: bool = option(False, "Let the normalisations of those blocks train too, as Houlsby et al. do.", advanced=True)


class Adapter(TunerMethod):
    """Small networks, down to a bottleneck and up again, are put into the blocks of the frozen base."""

    name = "adapter"
    title = "Bottleneck adapters"
    summary = "Trains small bottleneck layers inside the frozen base."
    good_for = "When capacity counts more than merging: layers of their own inside the base, for harder tasks than LoRA's rank allows."
    reference = "https://arxiv.org/abs/1902.00751"
    options = AdapterOptions
    learning_rate = 1e-3

    def refusal(self, model: ModelSpec, task: Task, options: AdapterOptions) -> str:
        """Blocks that the model does not have."""
        return super().refusal(model, task, options) or bad_layers(model, options)

    def added(self, model: ModelSpec, options: AdapterOptions) -> int:
        """``2 h m + m + h`` an adapter, and copies of the normalisations where they train."""
        return bottleneck_parameters(model, options) + (norm_parameters(model, options) if options.layer_norms else 0)

    def parts(self, model: Any, options: AdapterOptions) -> dict[str, Any]:
        """The adapter."""
        return {"adapter": bottleneck_config(model.config.hidden_size, options), "layer_norms": options.layer_norms}
