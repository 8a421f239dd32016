"""AdaLoRA: LoRA in the form of a singular value decomposition, whose rank moves to where it matters (https://arxiv.org/abs/2303.10512).

Every projection gets ``W x + scale · B diag(E) A x`` of rank ``init_r``. While training, triplets (a column of B, a value of E, a
row of A) are scored by how sensitive the loss is to them, and the least important ones over all projections are pruned,
until ``target_r`` a projection remain on average. The result holds only those that remain.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.api import Course, Footprint, ModelSpec, PeftMethod, Task, UsageError, option
from .lora import missing_targets, selected

if TYPE_CHECKING:
    import torch
    from peft import PeftConfig

_SENSITIVITY, _UNCERTAINTY, _KEPT = "sensitivity:", "uncertainty:", "kept:"
"""Beginnings of the names of what a checkpoint remembers."""

_UNKNOWN_LENGTH = 1 << 30
"""PEFT wants the number of steps when the adapter is made; it is told before the first one."""


@dataclass(frozen=True)
class AdaLoraOptions:
    """Options of `AdaLora`; names as in PEFT's ``AdaLoraConfig``."""

    init_r: int = option(12, "Rank of every update at the start.", minimum=2, group="Adapter")
    target_r: int = option(8, "Average rank at the end.", minimum=1, group="Adapter")
    lora_alpha: float = option(32, "Scale of the update: it is multiplied by lora_alpha / init_r.", minimum=0, group="Adapter")
    lora_dropout: float = option(0.0, "Dropout before the update.", minimum=0.0, maximum=1.0, group="Adapter")
    target_modules: list[str] | Literal["auto", "all-linear"] = option(
        "auto", "Projections that get an update: auto and all-linear take all but the output head, or a list of names.", group="Adapter"
    )
    tinit: float = option(0.1, "Steps before pruning begins, or a share of all steps when below 1.", minimum=0, group="Schedule")
    tfinal: float = option(0.3, "Steps at the end without pruning, or a share of all steps when below 1.", minimum=0, group="Schedule")
    deltaT: int = option(1, "Steps between two prunings.", minimum=1, group="Schedule", advanced=True)
    beta1: float = option(0.85, "Smoothing of the sensitivity.", minimum=0.001, maximum=0.999, group="Schedule", advanced=True)
    beta2: float = option(0.85, "Smoothing of its uncertainty.", minimum=0.001, maximum=0.999, group="Schedule", advanced=True)
    orth_reg_weight: float = option(0.5, "Weight of the penalty that keeps A and B orthogonal.", minimum=0, group="Schedule", advanced=True)


class AdaLora(PeftMethod):
    """Ranks are not chosen but found: a budget falls from ``init_r`` to ``target_r`` a projection while training."""

    name = "adalora"
    title = "AdaLoRA"
    summary = "LoRA that prunes its ranks while training, down to a budget, where they matter least."
    good_for = "When the number of trained parameters is tight and it is unknown which layers need them: ranks go where they matter."
    reference = "https://arxiv.org/abs/2303.10512"
    options = AdaLoraOptions
    learning_rate = 1e-3

    def refusal(self, model: ModelSpec, task: Task, options: AdaLoraOptions) -> str:
        """Names that the model lacks, and budgets that prune nothing."""
        reason = super().refusal(model, task, options) or missing_targets(model.linears, options.target_modules)
        if not reason and options.target_r >= options.init_r:
            return f"target_r is {options.target_r} and init_r {options.init_r}: nothing would be pruned; plain lora does that"
        return reason

    def footprint(self, model: ModelSpec, options: AdaLoraOptions) -> Footprint:
        """``init_r · (in + out + 1)`` for every projection: what trains before anything is pruned."""
        chosen = selected(model.linears, options.target_modules)
        count = sum(options.init_r * (linear.in_features + linear.out_features + 1) for linear in chosen)
        names = frozenset(linear.name for linear in chosen)
        return Footprint(trainable_parameters=count + model.head_parameters, added_parameters=count, adapted=names)

    def peft_config(self, model: Any, options: AdaLoraOptions, task: Task) -> PeftConfig:
        """PEFT's ``AdaLoraConfig``; its own penalty is off, as it would be added to losses that transformers computes only."""
        from peft import AdaLoraConfig

        from ...core.worker.peft_support import stores_transposed, target_modules, task_arguments

        return AdaLoraConfig(
            **task_arguments(model, task), init_r=options.init_r, target_r=options.target_r, lora_alpha=options.lora_alpha,  # pyright: ignore[reportArgumentType]
            lora_dropout=options.lora_dropout, target_modules=target_modules(model, options.target_modules), deltaT=options.deltaT,
            beta1=options.beta1, beta2=options.beta2, orth_reg_weight=0.0, total_step=_UNKNOWN_LENGTH, bias="none",
            fan_in_fan_out=stores_transposed(model),
        )  # fmt: skip

    def prepare(self, model: Any, options: AdaLoraOptions, task: Task) -> Any:
        """Also keep PEFT's counts of ranks from training: it makes them anew, trainable, where the base is not in float32."""
        wrapped = super().prepare(model, options, task)
        for name, parameter in wrapped.named_parameters():
            if ".ranknum." in name:
                parameter.requires_grad_(False)
        return wrapped

    def begin(self, model: Any, options: AdaLoraOptions, course: Course) -> None:
        """Tell PEFT's schedule how long this training is.

        Raises:
            UsageError: the options leave no steps for pruning.
        """
        total_steps = course.total_steps
        first, last = _steps(options.tinit, total_steps), _steps(options.tfinal, total_steps)
        if first + last >= total_steps:
            raise UsageError(
                f"adalora: tinit ({first} steps) and tfinal ({last}) leave none of {total_steps} steps for pruning",
                "lower them: below 1 they are shares of all steps",
            )
        config = _config(model)
        config.tinit, config.tfinal, config.total_step = first, last, total_steps

    def extra_loss(self, model: Any, options: AdaLoraOptions) -> torch.Tensor | None:
        """The penalty: ``‖A Aᵀ - I‖`` and ``‖Bᵀ B - I‖``, averaged over all of them."""
        import torch

        if not options.orth_reg_weight:
            return None
        distances = []
        for name, parameter in model.named_parameters():
            if ".lora_A." in name or ".lora_B." in name:
                product = parameter @ parameter.T if ".lora_A." in name else parameter.T @ parameter
                distances.append(torch.linalg.norm(product - torch.eye(len(product), device=product.device)))
        return options.orth_reg_weight * torch.stack(distances).mean()

    def after_step(self, model: Any, options: AdaLoraOptions, step: int, total_steps: int) -> None:
        """Score the triplets by this step's gradients and prune to the budget; the last pruning is at ``total_steps - tfinal``."""
        gradients = [parameter.grad for name, parameter in model.named_parameters() if ".lora_" in name and parameter.grad is not None]
        if all(bool(gradient.isfinite().all()) for gradient in gradients):  # overflows are ordinary under loss scaling
            model.base_model.update_and_allocate(step + 1)

    def metrics(self, model: Any, options: AdaLoraOptions) -> dict[str, float]:
        """How many triplets are left."""
        return {"rank_total": float(sum(_ranks(model).values()))}

    def result(self, model: Any, options: AdaLoraOptions) -> dict[str, Any]:
        """The rank that every projection ended with, their sum, and the budget."""
        ranks = _ranks(model)
        return {"ranks": ranks, "rank_total": sum(ranks.values()), "rank_budget": options.target_r * len(ranks)}

    def state(self, model: Any, options: AdaLoraOptions) -> dict[str, torch.Tensor]:
        """The smoothed scores, and which triplets the last pruning kept."""
        import torch

        allocator = model.base_model.rankallocator
        scores = {f"{_SENSITIVITY}{name}": tensor for name, tensor in allocator.exp_avg_ipt.items()}
        scores |= {f"{_UNCERTAINTY}{name}": tensor for name, tensor in allocator.exp_avg_unc.items()}
        return scores | {f"{_KEPT}{name}": torch.tensor(kept) for name, kept in (_config(model).rank_pattern or {}).items()}

    def load_state(self, model: Any, options: AdaLoraOptions, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put the scores and the last pruning back."""
        import torch

        allocator = model.base_model.rankallocator
        device = next(model.parameters()).device
        allocator.reset_ipt()
        kept = {}
        for name, tensor in tensors.items():
            kind, _, parameter = name.partition(":")
            if kind + ":" == _KEPT:
                kept[parameter] = tensor.tolist()
                continue
            (allocator.exp_avg_ipt if kind + ":" == _SENSITIVITY else allocator.exp_avg_unc)[parameter] = tensor.to(device)
        allocator.ipt = {name: torch.zeros_like(tensor) for name, tensor in allocator.exp_avg_ipt.items()}
        _config(model).rank_pattern = kept or None

    def save(self, model: Any, folder: Path) -> None:
        """Write a PEFT folder that holds only the triplets that are left."""
        _config(model).rank_pattern = {
            name.replace(".default", ""): (parameter != 0).flatten().tolist() for name, parameter in _values(model).items()
        }
        super().save(model, folder)


def _steps(value: float, total_steps: int) -> int:
    return round(value * total_steps) if value < 1 else round(value)


def _config(model: Any) -> Any:
    return model.peft_config["default"]


def _values(model: Any) -> dict[str, torch.Tensor]:
    """``E`` of every projection by its name in the base: (rank, 1); pruned ones are zero, whichever step's weights these are."""
    return {name: parameter for name, parameter in model.base_model.model.named_parameters() if ".lora_E." in name}


def _ranks(model: Any) -> dict[str, int]:
    """The number of triplets left, by projection."""
    return {name.partition(".lora_E.")[0]: int((parameter != 0).sum()) for name, parameter in _values(model).items()}
