"""LoRA and bottleneck adapters together: low-rank updates of the projections, and small networks behind the sublayers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.api import ModelSpec, Task, part
from .parts import (
    BottleneckOptions,
    LowRankOptions,
    TunerMethod,
    bad_layers,
    bad_targets,
    bottleneck_config,
    bottleneck_parameters,
    update_config,
    update_parameters,
)


@dataclass(frozen=True)
class LoraAdapterOptions:
    """Options of `LoraAdapter`, by part."""

    lora: LowRankOptions = part(LowRankOptions())
    adapter: BottleneckOptions = part(BottleneckOptions(variant="pfeiffer"))


class LoraAdapter(TunerMethod):
    """The linear part (LoRA) changes what the attention looks for, the non-linear part (adapters) what becomes of it."""

    name = "lora_adapter"
    title = "LoRA + adapters"
    summary = "Trains low-rank updates and bottleneck adapters together."
    good_for = "When LoRA alone learns too little: bottlenecks add capacity that low-rank updates do not have."
    options = LoraAdapterOptions
    learning_rate = 5e-4

    def refusal(self, model: ModelSpec, task: Task, options: LoraAdapterOptions) -> str:
        """Blocks and projections that the model does not have."""
        return super().refusal(model, task, options) or bad_layers(model, options.adapter) or bad_targets(model, options.lora)

    def added(self, model: ModelSpec, options: LoraAdapterOptions) -> int:
        """The sum of the parts."""
        return update_parameters(model, options.lora) + bottleneck_parameters(model, options.adapter)

    def parts(self, model: Any, options: LoraAdapterOptions) -> dict[str, Any]:
        """Both."""
        return {"lora": update_config(model, options.lora), "adapter": bottleneck_config(model.config.hidden_size, options.adapter)}
