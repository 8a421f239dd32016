"""QLoRA: LoRA on a base held in 4 bits (https://arxiv.org/abs/2305.14314), through bitsandbytes, on GPUs and CPUs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.api import Footprint, ModelSpec, Task, option
from .lora import LoraBaseOptions, LoraMethod, adapter_parameters, selected

if TYPE_CHECKING:
    import torch

_BLOCK = 64
"""Weights that share one scale."""

_OUTER_BLOCK = 256
"""Scales that share one scale of their own under double quantisation."""


@dataclass(frozen=True)
class QloraOptions(LoraBaseOptions):
    """Options of `Qlora`; the last three are spelt as in transformers' ``BitsAndBytesConfig``."""

    init_lora_weights: Literal["default", "gaussian", "orthogonal", "eva", "loftq"] = option(
        "default", "How the update starts; eva: from the data; loftq: with most of what quantisation took away.",
        group="Adapter", advanced=True,
    )  # fmt: skip
    bnb_4bit_quant_type: Literal["nf4", "fp4"] = option("nf4", "The 4-bit numbers: nf4 suits normally distributed weights.", group="Base")
    bnb_4bit_use_double_quant: bool = option(True, "Quantise the scales too: 0.4 bits a weight less.", group="Base")
    bnb_4bit_compute_dtype: Literal["auto", "bfloat16", "float16", "float32"] = option(
        "auto", "Precision the 4-bit weights are expanded to for computing; auto: that of the run.", group="Base", advanced=True
    )


class Qlora(LoraMethod):
    """As LoRA, with the base's projections in 4 bits: a quarter of the memory of 16 bits, somewhat slower."""

    name = "qlora"
    title = "QLoRA"
    summary = "LoRA on a base quantised to 4 bits: the least memory."
    good_for = "When the base does not fit in 16 bits: LoRA's quality for about a third of the memory, at some cost in speed."
    suits_most = True
    reference = "https://arxiv.org/abs/2305.14314"
    options = QloraOptions
    learning_rate = 2e-4

    def refusal(self, model: ModelSpec, task: Task, options: QloraOptions) -> str:
        """Also a start that does not go with DoRA."""
        reason = super().refusal(model, task, options)
        if not reason and options.use_dora and options.init_lora_weights == "loftq":
            return "use_dora does not go with init_lora_weights=loftq, whose start is not zero"
        return reason

    def footprint(self, model: ModelSpec, options: QloraOptions) -> Footprint:
        """LoRA's parameters; the projections at half a byte a weight plus their scales."""
        count = adapter_parameters(model.linears, options)
        constants = 1 / _BLOCK + 4 / (_BLOCK * _OUTER_BLOCK) if options.bnb_4bit_use_double_quant else 4 / _BLOCK
        return Footprint(
            trainable_parameters=count + model.head_parameters,
            added_parameters=count,
            quantized_parameters=model.linear_parameters,
            quantized_bytes_per_parameter=0.5,
            constants_bytes_per_parameter=constants,
            adapted=frozenset(linear.name for linear in selected(model.linears, options.target_modules)),
        )

    def load_arguments(self, options: QloraOptions, device: torch.device) -> dict[str, Any]:
        """The quantisation, for ``from_pretrained``."""
        from transformers import BitsAndBytesConfig

        from ...core.worker.precision import dtype_named

        return {
            "quantization_config": BitsAndBytesConfig(
                load_in_4bit=True,
                bnb_4bit_quant_type=options.bnb_4bit_quant_type,
                bnb_4bit_use_double_quant=options.bnb_4bit_use_double_quant,
                bnb_4bit_compute_dtype=dtype_named(options.bnb_4bit_compute_dtype, device),
            )
        }

    def prepare(self, model: Any, options: QloraOptions, task: Task) -> Any:
        """Wrap the quantised base; its layers compute in the precision that the rest of it was loaded in, unless told otherwise."""
        from ...core.worker.loading import compute_in

        if options.bnb_4bit_compute_dtype == "auto":
            compute_in(model, model.dtype)
        folder = Path(model.name_or_path)
        wrapped = super().prepare(model, options, task)
        if options.init_lora_weights == "loftq" and not any(parameter.is_meta for parameter in wrapped.parameters()):
            from ...core.worker.starts import loftq_start

            loftq_start(wrapped, folder)
        return wrapped
