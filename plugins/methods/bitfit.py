"""BitFit: only bias terms train (https://arxiv.org/abs/2106.10199), or the weights of norms where a model has no biases."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from ...core.api import DeltaMethod, ModelSpec, Place, Task, option, places

_QUERY = re.compile(r"(?:^|\.)(?:q_proj|query|q_lin|q)\.bias$")
_MLP_MIDDLE = re.compile(r"(?:^|\.)(?:intermediate\.dense|c_fc|dense_h_to_4h|up_proj|fc1|fc_in|wi|lin1)\.bias$")
_FUSED = re.compile(r"(?:^|\.)(?:query_key_value|c_attn|qkv_proj|qkv|Wqkv|in_proj)\.bias$")


@dataclass(frozen=True)
class BitfitOptions:
    """Options of `Bitfit`."""

    terms: list[Literal["biases", "norms"]] = option(
        ["biases"], "What trains: biases (those of norms too), the weights of norms with their biases, or both.", group="Method"
    )
    subset: Literal["all", "query_and_mlp"] = option(
        "all", "Which biases: all, or those of the queries and of the MLP's first projection, half as many.", group="Method"
    )


class Bitfit(DeltaMethod):
    """Bias terms and the task's head train, all weight matrices stay frozen: about a thousandth of the parameters."""

    name = "bitfit"
    title = "BitFit"
    summary = "Trains bias terms only (or norms): the fewest parameters of the base's own."
    good_for = "When the base has biases and there is little data: a tiny change of its own weights that hardly overfits."
    reference = "https://arxiv.org/abs/2106.10199"
    options = BitfitOptions
    learning_rate = 1e-3

    def refusal(self, model: ModelSpec, task: Task, options: BitfitOptions) -> str:
        """Architectures without biases, and those that store query biases with those of keys and values."""
        reason = super(DeltaMethod, self).refusal(model, task, options)
        if reason:
            return reason
        found = [place for place in places(model) if place.part != "classifier"]
        if not options.terms:
            return 'terms is empty; take ["biases"], ["norms"] or both'
        if "biases" in options.terms and not any(place.is_bias for place in found):
            return 'its layers have no bias terms; terms=["norms"] trains the weights of its norms instead'
        if options.subset == "query_and_mlp" and "biases" in options.terms:
            if any(_FUSED.search(place.name) for place in found):
                return "its query biases are stored in one tensor with those of keys and values; subset=all trains them together"
            if not any(_in_subset(place) for place in found):
                return "neither its queries nor its MLPs have biases; subset=all trains those it has"
        return ""

    def trains(self, place: Place, options: BitfitOptions) -> bool:
        """Biases as chosen, and norms as chosen."""
        if "biases" in options.terms and place.is_bias and (options.subset == "all" or _in_subset(place)):
            return True
        return "norms" in options.terms and (place.is_gain or (place.is_bias and _is_norm(place.name)))


def _in_subset(place: Place) -> bool:
    return bool(_QUERY.search(place.name) or _MLP_MIDDLE.search(place.name))


def _is_norm(name: str) -> bool:
    module = name.rpartition(".")[0].rpartition(".")[2].lower()
    return "norm" in module or module.startswith("ln")
