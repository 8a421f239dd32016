"""Prefix tuning (https://arxiv.org/abs/2101.00190)."""

from __future__ import annotations

from typing import Any

from ...core.api import ModelSpec
from .parts import PrefixOptions, TunerMethod, prefix_config, prefix_parameters


class PrefixTuning(TunerMethod):
    """Every attention layer of the frozen base sees learned keys and values in front of the text's."""

    name = "prefix_tuning"
    title = "Prefix tuning"
    summary = "Trains keys and values that every layer sees in front of the text."
    good_for = "When text is to be generated in another way from the same base, for several tasks in one batch: every layer is steered."
    reference = "https://arxiv.org/abs/2101.00190"
    options = PrefixOptions
    packs = False
    learning_rate = 1e-3

    def added(self, model: ModelSpec, options: PrefixOptions) -> int:
        """The network that computes the prefix, or the prefix itself."""
        return prefix_parameters(model, options)

    def parts(self, model: Any, options: PrefixOptions) -> dict[str, Any]:
        """The prefix."""
        return {"prefix": prefix_config(options)}
