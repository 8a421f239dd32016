"""P-tuning v2 (https://arxiv.org/abs/2110.07602): deep prompts, as prefix tuning, without a network behind them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ...core.api import ModelSpec, option
from .parts import PrefixOptions, TunerMethod, prefix_config, prefix_parameters


@dataclass(frozen=True)
class PTuningV2Options:
    """Options of `PTuningV2`."""

    num_virtual_tokens: int = option(20, "Length of the prompt in every layer.", minimum=1, group="Adapter")


class PTuningV2(TunerMethod):
    """Learned keys and values in front of the text's in every layer, trained directly."""

    name = "p_tuning_v2"
    title = "P-tuning v2"
    summary = "Trains deep prompts: keys and values of every layer, directly."
    good_for = "When prompt tuning is too weak for a small base or for classification: prompts reach every layer."
    reference = "https://arxiv.org/abs/2110.07602"
    options = PTuningV2Options
    packs = False
    learning_rate = 5e-3

    def added(self, model: ModelSpec, options: PTuningV2Options) -> int:
        """``2 p k`` a layer."""
        return prefix_parameters(model, _as_prefix(options))

    def parts(self, model: Any, options: PTuningV2Options) -> dict[str, Any]:
        """The prefix."""
        return {"prefix": prefix_config(_as_prefix(options))}


def _as_prefix(options: PTuningV2Options) -> PrefixOptions:
    return PrefixOptions(num_virtual_tokens=options.num_virtual_tokens, prefix_projection=False)
