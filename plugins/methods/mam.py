"""MAM adapters (https://arxiv.org/abs/2110.04366): a short prefix, and scaled adapters beside the feed-forwards."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.api import ModelSpec, Task, part
from .parts import (
    BottleneckOptions,
    PrefixOptions,
    TunerMethod,
    bad_layers,
    bottleneck_config,
    bottleneck_parameters,
    prefix_config,
    prefix_parameters,
)


@dataclass(frozen=True)
class MamOptions:
    """Options of `Mam`, by part; the paper's, but for widths that scale with the model."""

    prefix: PrefixOptions = part(PrefixOptions(num_virtual_tokens=30, encoder_hidden_size=800))
    adapter: BottleneckOptions = part(BottleneckOptions(variant="parallel", reduction_factor=2, non_linearity="relu", scaling=4.0))


class Mam(TunerMethod):
    """A prefix for the attention and a wide scaled adapter beside each feed-forward: He et al.'s best mixture."""

    name = "mam"
    title = "MAM adapter"
    summary = "Trains a prefix and scaled adapters beside the feed-forwards."
    good_for = "When the best quality of a frozen base is wanted and memory for a prefix and parallel adapters is there."
    reference = "https://arxiv.org/abs/2110.04366"
    options = MamOptions
    packs = False
    learning_rate = 5e-4

    def refusal(self, model: ModelSpec, task: Task, options: MamOptions) -> str:
        """Blocks that the model does not have."""
        return super().refusal(model, task, options) or bad_layers(model, options.adapter)

    def added(self, model: ModelSpec, options: MamOptions) -> int:
        """The sum of the parts."""
        return prefix_parameters(model, options.prefix) + bottleneck_parameters(model, options.adapter)

    def parts(self, model: Any, options: MamOptions) -> dict[str, Any]:
        """Prefix and adapter."""
        return {"prefix": prefix_config(options.prefix), "adapter": bottleneck_config(model.config.hidden_size, options.adapter)}
