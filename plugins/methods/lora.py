"""LoRA: low-rank updates of the linear projections (https://arxiv.org/abs/2106.09685), with rsLoRA, DoRA and other starts."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True)
class LoraOptions(LoraBaseOptions):
    """Options of `Lora`."""

    init_lora_weights: Literal["default", "gaussian", "orthogonal", "pissa", "pissa_niter_16", "olora"] = option(
        "default", "How the update starts; pissa and olora start from the base's own principal parts.", group="Adapter", advanced=True
    )


class Lora(PeftMethod):
    """The base stays frozen; each chosen projection ``W x`` becomes ``W x + scale · B A x`` with ``A`` and ``B`` of rank ``r``."""

    name = "lora"
    title = "LoRA"
    summary = "Trains small low-rank updates beside the frozen base."
    reference = "https://arxiv.org/abs/2106.09685"
    options = LoraOptions
    learning_rate = 2e-4

    def refusal(self, model: ModelSpec, task: Task, options: LoraOptions) -> str:
        """Names in ``target_modules`` that the model lacks, and starts that do not go with DoRA."""
        reason = super().refusal(model, task, options) or missing_targets(model.linears, options.target_modules)
        start = options.init_lora_weights
        if not reason and options.use_dora and start.startswith(("pissa", "olora")):
            return f"use_dora does not go with init_lora_weights={start}, which changes the base's weights"
        if not reason and start == "olora" and model.model_type == "gpt2":
            return "PEFT's olora start does not work on GPT-2's transposed projections; pissa does"
        return reason

    def footprint(self, model: ModelSpec, options: LoraBaseOptions) -> Footprint:
        """``r · (in + out)`` for every projection, and ``out`` magnitudes with DoRA."""
        count = adapter_parameters(model.linears, options)
        return Footprint(trainable_parameters=count + model.head_parameters, added_parameters=count)

    def peft_config(self, model: Any, options: LoraOptions, task: Task) -> PeftConfig:
        """PEFT's ``LoraConfig``."""
        start = options.init_lora_weights
        return lora_config(model, options, task, init_lora_weights=True if start == "default" else start)


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


def adapter_parameters(linears: Sequence[LinearSpec], options: LoraBaseOptions) -> int:
    """Parameters of a LoRA adapter on these projections."""
    chosen = selected(linears, options.target_modules)
    magnitudes = sum(linear.out_features for linear in chosen) if options.use_dora else 0
    return sum(options.r * (linear.in_features + linear.out_features) for linear in chosen) + magnitudes


def lora_config(model: Any, options: LoraBaseOptions, task: Task, *, init_lora_weights: Any) -> PeftConfig:
    """PEFT's configuration for these options on a loaded base."""
    from peft import LoraConfig
    from transformers.pytorch_utils import Conv1D

    from ...core.worker.peft_support import target_modules, task_arguments

    return LoraConfig(
        **task_arguments(model, task), r=options.r, lora_alpha=options.lora_alpha, lora_dropout=options.lora_dropout,  # pyright: ignore[reportArgumentType]
        target_modules=target_modules(model, options.target_modules), use_rslora=options.use_rslora, use_dora=options.use_dora,
        init_lora_weights=init_lora_weights, bias="none", fan_in_fan_out=any(isinstance(part, Conv1D) for part in model.modules()),
    )  # fmt: skip
