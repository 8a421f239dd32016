"""UniPELT (https://arxiv.org/abs/2110.07577): LoRA, a prefix and adapters, each behind a learned gate."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from ...core.api import Footprint, ModelSpec, Task, part
from .parts import (
    BottleneckOptions,
    GatedLowRankOptions,
    PrefixOptions,
    TunerMethod,
    bad_layers,
    bad_targets,
    bottleneck_config,
    bottleneck_parameters,
    prefix_config,
    prefix_parameters,
    update_config,
    update_parameters,
)


@dataclass(frozen=True)
class UniPeltOptions:
    """Options of `UniPelt`, by part; the paper's."""

    lora: GatedLowRankOptions = part(GatedLowRankOptions(r=8))
    prefix: PrefixOptions = part(PrefixOptions(num_virtual_tokens=10))
    adapter: BottleneckOptions = part(BottleneckOptions(variant="pfeiffer", reduction_factor=16))


class UniPelt(TunerMethod):
    """Three methods at once; gates learn, layer by layer and input by input, how much of each to let through."""

    name = "unipelt"
    title = "UniPELT"
    summary = "Trains LoRA, a prefix and adapters behind learned gates."
    good_for = "When it is unknown which of LoRA, prefix and adapters suits the data: gates learn how much of each to use."
    reference = "https://arxiv.org/abs/2110.07577"
    options = UniPeltOptions
    packs = False
    learning_rate = 5e-4

    def refusal(self, model: ModelSpec, task: Task, options: UniPeltOptions) -> str:
        """Blocks and projections that the model does not have."""
        return super().refusal(model, task, options) or bad_layers(model, options.adapter) or bad_targets(model, options.lora)

    def added(self, model: ModelSpec, options: UniPeltOptions) -> int:
        """The sum of the parts, gates included."""
        return (
            update_parameters(model, options.lora, gated=True)
            + prefix_parameters(model, options.prefix, gated=True)
            + bottleneck_parameters(model, options.adapter, gated=True)
        )

    def footprint(self, model: ModelSpec, options: UniPeltOptions) -> Footprint:
        """The parts and what the gates keep: inputs and gated outputs of the three, measured as eight vectors a block."""
        plain = super().footprint(model, options)
        gates = 8 * model.hidden_size * model.num_hidden_layers
        return replace(plain, kept_per_token=(plain.kept_per_token or 0.0) + gates)

    def parts(self, model: Any, options: UniPeltOptions) -> dict[str, Any]:
        """All three, gated."""
        return {
            "lora": update_config(model, options.lora),
            "prefix": prefix_config(options.prefix),
            "adapter": bottleneck_config(model.config.hidden_size, options.adapter),
            "gated": True,
        }

    def metrics(self, model: Any, options: UniPeltOptions) -> dict[str, float]:
        """The mean of each kind of gate in the last forward pass."""
        from ...core.worker.tuners import gate_means

        return {f"gate_{kind}": value for kind, value in gate_means(model).items()}

    def result(self, model: Any, options: UniPeltOptions) -> dict[str, Any]:
        """Every gate's value in the last forward pass, by kind and module."""
        from ...core.worker.tuners import gate_values

        return {"gates": gate_values(model)}
