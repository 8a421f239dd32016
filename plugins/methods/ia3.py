"""(IA)³: learned vectors that rescale keys, values and the inside of the feed-forward layers (https://arxiv.org/abs/2205.05638)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...core.api import Footprint, ModelSpec, PeftMethod, Task, option
from .lora import missing_targets

if TYPE_CHECKING:
    from peft import PeftConfig

_KEYS_VALUES = re.compile(r"\.(?:k_proj|v_proj|key|value|c_attn|query_key_value|qkv_proj|Wqkv)$")
"""Projections to keys and values; fused with those to queries in some architectures, whose queries are rescaled as well."""

_DOWN = re.compile(r"(?:\.mlp\.(?:down_proj|c_proj|dense_4h_to_h|Wo)|\.\d+\.output\.dense|\.fc2|\.w2)$")
"""The feed-forward layer's second projection, whose input is rescaled."""


@dataclass(frozen=True)
class Ia3Options:
    """Options of `Ia3`; names as in PEFT's ``IA3Config``."""

    target_modules: list[str] | Literal["auto"] = option(
        "auto", "Projections that are rescaled: auto takes keys, values and the second feed-forward projection, as the paper does.",
        group="Adapter",
    )  # fmt: skip
    feedforward_modules: list[str] | Literal["auto"] = option(
        "auto", "Those among them whose input is rescaled instead of their output; auto: the feed-forward projections.",
        group="Adapter", advanced=True,
    )  # fmt: skip


class Ia3(PeftMethod):
    """One vector a projection, all ones at first: outputs (or inputs) are multiplied by it, element by element."""

    name = "ia3"
    title = "(IA)³"
    summary = "Trains vectors that rescale keys, values and feed-forward activations: fewest parameters."
    good_for = "When there are a few hundred examples and many small adapters to keep: files of kilobytes that merge without cost."
    reference = "https://arxiv.org/abs/2205.05638"
    options = Ia3Options
    learning_rate = 3e-3

    def refusal(self, model: ModelSpec, task: Task, options: Ia3Options) -> str:
        """Names that the model lacks, and architectures whose projections are not recognised."""
        reason = super().refusal(model, task, options)
        if not reason and options.target_modules != "auto":
            reason = missing_targets(model.linears, options.target_modules)
        if reason:
            return reason
        chosen, feedforward = _chosen([linear.name for linear in model.linears], options)
        if not chosen:
            return f"it is not known which projections of {model.architecture} make keys and values: name them in target_modules"
        if options.feedforward_modules != "auto" and not set(feedforward) <= set(chosen):
            return "feedforward_modules must be among target_modules"
        return ""

    def footprint(self, model: ModelSpec, options: Ia3Options) -> Footprint:
        """``out`` for every projection whose output is rescaled, ``in`` where it is the input."""
        chosen, feedforward = _chosen([linear.name for linear in model.linears], options)
        linears = {linear.name: linear for linear in model.linears}
        count = sum(linears[name].in_features if name in feedforward else linears[name].out_features for name in chosen)
        return Footprint(count + model.head_parameters, added_parameters=count, adapted=frozenset(), kept_per_token=count)

    def peft_config(self, model: Any, options: Ia3Options, task: Task) -> PeftConfig:
        """PEFT's ``IA3Config``."""
        from peft import IA3Config

        from ...core.worker.peft_support import block_linears, distinctive_names, stores_transposed, task_arguments

        chosen, feedforward = _chosen(block_linears(model), options)
        outputs = [name for name in chosen if name not in feedforward]
        inputs = distinctive_names(model, feedforward)
        return IA3Config(
            **task_arguments(model, task), target_modules=[*distinctive_names(model, outputs), *inputs],  # pyright: ignore[reportArgumentType]
            feedforward_modules=inputs, fan_in_fan_out=stores_transposed(model),
        )  # fmt: skip

    def parameter_groups(self, model: Any, options: Ia3Options, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """The vectors are exempt from weight decay: they start at one, and decay would pull them to zero."""
        named = [(name, parameter) for name, parameter in model.named_parameters() if parameter.requires_grad]
        vectors = [parameter for name, parameter in named if ".ia3_l." in name]
        head = [parameter for name, parameter in named if ".ia3_l." not in name]
        groups = [
            {"params": vectors, "lr": learning_rate, "weight_decay": 0.0},
            {"params": [p for p in head if p.ndim > 1], "lr": learning_rate, "weight_decay": weight_decay},
            {"params": [p for p in head if p.ndim <= 1], "lr": learning_rate, "weight_decay": 0.0},
        ]
        return [group for group in groups if group["params"]]


def _chosen(paths: Sequence[str], options: Ia3Options) -> tuple[list[str], list[str]]:
    """Of the projections ``paths``: those that are rescaled, and those among them whose input is."""
    if options.target_modules == "auto":
        targets = [path for path in paths if _KEYS_VALUES.search(path) or _DOWN.search(path)]
    else:
        targets = [path for path in paths if _named(path, options.target_modules)]
    if options.feedforward_modules == "auto":
        return targets, [path for path in targets if _DOWN.search(path)]
    return targets, [path for path in paths if _named(path, options.feedforward_modules)]


def _named(path: str, names: Sequence[str]) -> bool:
    return any(path == name or path.endswith(f".{name}") for name in names)
