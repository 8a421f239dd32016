"""LoRA: low-rank updates of the linear projections (https://arxiv.org/abs/2106.09685).

With rsLoRA's scale (https://arxiv.org/abs/2312.03732), DoRA (https://arxiv.org/abs/2402.09353), LoRA+'s two learning rates
(https://arxiv.org/abs/2402.12354), ranks by module, and the starts of PiSSA (https://arxiv.org/abs/2404.02948) , OLoRA
(https://arxiv.org/abs/2406.01775) and EVA (https://arxiv.org/abs/2410.07170).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from ...core.api import Footprint, LinearSpec, ModelSpec, PeftMethod, Task, option

if TYPE_CHECKING:
    from peft import PeftConfig


@dataclass(frozen=True)
class LoraBaseOptions:
    """What LoRA and its quantised variant share; names as in PEFT's ``LoraConfig``."""

    r: int = option(16, "Rank of the update matrices.", minimum=1, group="Adapter")
    lora_alpha: float = option(32, "Scale of the update: it is multiplied by lora_alpha / r.", minimum=0, group="Adapter")
    lora_dropout: float = option(0.0, "Dropout before the update matrices.", minimum=0.0, maximum=1.0, group="Adapter")
    target_modules: list[str] | Literal["auto", "all-linear"] = option(
        "auto", "Projections that get an update: auto and all-linear take all but the output head, or a list of names.", group="Adapter"
    )
    use_rslora: bool = option(False, "Scale by lora_alpha / sqrt(r) instead: steadier at high ranks.", group="Adapter")
    use_dora: bool = option(False, "Learn magnitude and direction apart (DoRA): often better at low ranks, slower.", group="Adapter")
    rank_pattern: dict[str, int] = option(
        {}, "Other ranks for some projections: name, path or regular expression → rank.", group="Adapter", advanced=True
    )
    alpha_pattern: dict[str, float] = option({}, "Other lora_alpha for some projections, alike.", group="Adapter", advanced=True)
    loraplus_lr_ratio: float = option(
        1.0, "LoRA+: B learns at so many times the rate of A; 16 is usual, with a lower learning_rate.", minimum=1.0, group="Adapter"
    )


@dataclass(frozen=True)
class LoraOptions(LoraBaseOptions):
    """Options of `Lora`."""

    init_lora_weights: Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora", "eva"] = option(
        "default", "How the update starts; pissa and olora: from the base's own principal parts; eva: from those of the data.",
        group="Adapter", advanced=True,
    )  # fmt: skip


class LoraMethod(PeftMethod):
    """What `Lora` and its quantised variant share."""

    def refusal(self, model: ModelSpec, task: Task, options: Any) -> str:
        """Names in ``target_modules`` and in the patterns that the model lacks."""
        return (
            super().refusal(model, task, options)
            or missing_targets(model.linears, options.target_modules)
            or pattern_problem(model.linears, options)
            or _start_problem(options)
        )

    def footprint(self, model: ModelSpec, options: LoraBaseOptions) -> Footprint:
        """``r · (in + out)`` for every projection, and ``out`` magnitudes with DoRA."""
        count = adapter_parameters(model.linears, options)
        names = frozenset(linear.name for linear in selected(model.linears, options.target_modules))
        return Footprint(trainable_parameters=count + model.head_parameters, added_parameters=count, adapted=names)

    def parameter_groups(self, model: Any, options: LoraBaseOptions, learning_rate: float, weight_decay: float) -> list[dict[str, Any]]:
        """With LoRA+ every group is split: ``B`` learns at ``loraplus_lr_ratio`` times the rate."""
        groups = super().parameter_groups(model, options, learning_rate, weight_decay)
        if options.loraplus_lr_ratio == 1.0:
            return groups
        fast = {id(parameter) for name, parameter in model.named_parameters() if ".lora_B." in name}
        split = []
        for group in groups:
            split.append({**group, "params": [p for p in group["params"] if id(p) not in fast]})
            rate = group["lr"] * options.loraplus_lr_ratio
            split.append({**group, "params": [p for p in group["params"] if id(p) in fast], "lr": rate})
        return [group for group in split if group["params"]]

    def peft_config(self, model: Any, options: Any, task: Task) -> PeftConfig:
        """PEFT's ``LoraConfig``."""
        return lora_config(model, options, task)

    def see_data(self, model: Any, options: Any, batches: Iterator[Any], run: Callable[[Any], Any]) -> None:
        """Compute the start that EVA takes from the data."""
        if options.init_lora_weights == "eva":
            from ...core.worker.starts import eva_start

            eva_start(model, batches, run)


class Lora(LoraMethod):
    """The base stays frozen; each chosen projection ``W x`` becomes ``W x + scale · B A x`` with ``A`` and ``B`` of rank ``r``."""

    name = "lora"
    title = "LoRA"
    summary = "Trains small low-rank updates beside the frozen base."
    good_for = "When nothing speaks against it: close to full fine-tuning for a small share of its memory; it merges and swaps."
    suits_most = True
    reference = "https://arxiv.org/abs/2106.09685"
    options = LoraOptions
    learning_rate = 2e-4

    def refusal(self, model: ModelSpec, task: Task, options: LoraOptions) -> str:
        """Also starts that do not go with DoRA or with the architecture."""
        reason = super().refusal(model, task, options)
        start = options.init_lora_weights
        if not reason and options.use_dora and start.startswith(("pissa", "olora")):
            return f"use_dora does not go with init_lora_weights={start}, which changes the base's weights"
        if not reason and start == "olora" and model.model_type == "gpt2":
            return "PEFT's olora start does not work on GPT-2's transposed projections; pissa does"
        return reason


def selected(linears: Sequence[LinearSpec], targets: str | list[str]) -> list[LinearSpec]:
    """The projections that ``target_modules`` means."""
    if isinstance(targets, str):
        return list(linears)
    return [linear for linear in linears if any(linear.name == name or linear.name.endswith(f".{name}") for name in targets)]


def missing_targets(linears: Sequence[LinearSpec], targets: str | list[str]) -> str:
    """A sentence about names that match no projection, empty where all do."""
    if not linears:
        return "the model has no linear projections to adapt"
    if isinstance(targets, str):
        return ""
    if not targets:
        return "target_modules is empty"
    missing = [name for name in targets if not selected(linears, [name])]
    known = ", ".join(sorted({linear.suffix for linear in linears}))
    return f"target_modules names {', '.join(missing)}, but the model's projections are {known}" if missing else ""


def _start_problem(options: Any) -> str:
    if options.init_lora_weights == "eva" and options.rank_pattern:
        return "init_lora_weights=eva does not go with rank_pattern: it finds directions for one rank everywhere"
    return ""


def pattern_problem(linears: Sequence[LinearSpec], options: LoraBaseOptions) -> str:
    """A sentence about patterns that match no chosen projection or ask for no rank, empty where all are sound."""
    chosen = [linear.name for linear in selected(linears, options.target_modules)]
    for option_name, pattern in (("rank_pattern", options.rank_pattern), ("alpha_pattern", options.alpha_pattern)):
        for key, value in pattern.items():
            try:
                hits = [name for name in chosen if matching_key([key], name)]
            except re.error as problem:
                return f"{option_name}: '{key}' is no regular expression ({problem})"
            if not hits:
                return f"{option_name}: '{key}' matches no projection that gets an update"
            if value <= 0:
                return f"{option_name}: '{key}' is {value}, which must be above 0"
    return ""


def matching_key(keys: Iterable[str], name: str) -> str:
    """The first of a pattern's keys that means the module ``name``, as PEFT matches them; empty where none does."""
    return next((key for key in keys if re.match(rf"(.*\.)?({key})$", name)), "")


def rank_of(name: str, r: int, pattern: Mapping[str, int]) -> int:
    """The rank of the projection ``name``."""
    return pattern.get(matching_key(pattern, name), r)


def adapter_parameters(linears: Sequence[LinearSpec], options: LoraBaseOptions) -> int:
    """Parameters of a LoRA adapter on these projections."""
    chosen = selected(linears, options.target_modules)
    ranks = {linear.name: rank_of(linear.name, options.r, options.rank_pattern) for linear in chosen}
    magnitudes = sum(linear.out_features for linear in chosen) if options.use_dora else 0
    return sum(ranks[linear.name] * (linear.in_features + linear.out_features) for linear in chosen) + magnitudes


def lora_config(model: Any, options: Any, task: Task) -> PeftConfig:
    """PEFT's configuration for these options on a loaded base."""
    from peft import EvaConfig, LoraConfig

    from ...core.worker.peft_support import stores_transposed, target_modules, task_arguments

    start = options.init_lora_weights
    computed = {"eva": {"eva_config": EvaConfig(rho=1.0)}, "loftq": {"init_lora_weights": True}}.get(start, {})
    return LoraConfig(
        **task_arguments(model, task), r=options.r, lora_alpha=options.lora_alpha, lora_dropout=options.lora_dropout,  # pyright: ignore[reportArgumentType]
        target_modules=target_modules(model, options.target_modules), use_rslora=options.use_rslora, use_dora=options.use_dora,
        rank_pattern=dict(options.rank_pattern), alpha_pattern=dict(options.alpha_pattern),
        bias="none", fan_in_fan_out=stores_transposed(model),
        **{"init_lora_weights": True if start == "default" else start, **computed},
    )  # fmt: skip
