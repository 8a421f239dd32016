"""The options of the training loop, shared by every method; names as in transformers' TrainingArguments and TRL's SFTConfig."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from .choices import LossOn
from .errors import Incompatible, UsageError
from .options import option


@dataclass(frozen=True)
class TrainingOptions:
    """What the loop does, whatever the method. Methods' own options are declared in their plugins."""

    max_steps: int = option(-1, "Optimizer steps to train for; -1 lets num_train_epochs decide.", minimum=-1, group="Length")
    num_train_epochs: float = option(3.0, "Passes over the training data when max_steps is -1.", minimum=0.0, group="Length")
    per_device_train_batch_size: int = option(8, "Examples per micro-batch on each device.", minimum=1, group="Batch")
    gradient_accumulation_steps: int = option(1, "Micro-batches per optimizer step.", minimum=1, group="Batch")
    auto_find_batch_size: bool = option(
        False, "Out of memory: one more attempt with half the micro-batch and twice the accumulation, which trains the same.",
        group="Batch", advanced=True,
    )  # fmt: skip
    num_processes: int = option(
        1, "Processes on the CPU that share each step's examples and the cores; on GPUs there is one for each GPU that is named.",
        minimum=1, group="Batch", advanced=True,
    )  # fmt: skip
    per_device_eval_batch_size: int = option(8, "Examples per evaluation batch.", minimum=1, group="Batch", advanced=True)
    max_length: int = option(1024, "Longer examples are cut to this.", minimum=8, group="Batch", unit="tokens")
    packing: bool = option(True, "Lay a batch's examples end to end instead of padding them; none sees another.", group="Batch")
    learning_rate: float | None = option(None, "Peak learning rate; none takes the method's own default.", minimum=0.0, group="Optimizer")
    optim: Literal["adamw", "paged_adamw_32bit", "paged_adamw_8bit"] = option(
        "adamw", "The optimizer; paged: its states move to the machine's memory when the GPU's is full (bitsandbytes).", group="Optimizer"
    )
    lr_scheduler_type: Literal["linear", "cosine", "constant", "constant_with_warmup"] = option(
        "cosine", "How the learning rate falls after warm-up.", group="Optimizer"
    )
    warmup_steps: float = option(0.03, "Warm-up: steps, or a share of all steps when below 1.", minimum=0.0, group="Optimizer")
    dropout: float | None = option(
        None,
        "Dropout in the model's own layers while training; none: as its configuration says.",
        minimum=0.0,
        maximum=1.0,
        group="Optimizer",
    )
    weight_decay: float = option(0.0, "Decoupled weight decay; biases and norms are exempt.", minimum=0.0, group="Optimizer")
    max_grad_norm: float = option(1.0, "Gradients are clipped to this norm; 0 turns clipping off.", minimum=0.0, group="Optimizer")
    adam_beta1: float = option(0.9, "AdamW's first decay rate.", minimum=0.0, maximum=1.0, group="Optimizer", advanced=True)
    adam_beta2: float = option(0.999, "AdamW's second decay rate.", minimum=0.0, maximum=1.0, group="Optimizer", advanced=True)
    adam_epsilon: float = option(1e-8, "AdamW's epsilon.", minimum=0.0, group="Optimizer", advanced=True)
    bf16: bool | None = option(None, "Compute in bfloat16; none: where the hardware has it.", group="Precision")
    fp16: bool | None = option(None, "Compute in float16 with loss scaling; none: on GPUs that lack bfloat16.", group="Precision")
    master_copy: Literal["none", "fp32"] = option(
        "none", "fp32: weights that train are bfloat16 beside a float32 master copy; none: they are float32 themselves.",
        group="Precision", advanced=True,
    )  # fmt: skip
    gradient_checkpointing: bool = option(False, "Recompute activations in the backward pass: less memory, slower.", group="Precision")
    eval_steps: int = option(0, "Evaluate every so many steps; 0: at the end of every epoch.", minimum=0, group="Evaluation")
    early_stopping_patience: int = option(0, "Stop after so many evaluations without improvement; 0: never.", minimum=0, group="Evaluation")
    overfitting_patience: int = option(
        3, "Evaluations in a row that get worse while the training loss falls, after which over-fitting is reported; 0: not watched.",
        minimum=0, group="Evaluation", advanced=True,
    )  # fmt: skip
    stop_on_overfitting: bool = option(False, "Stop where over-fitting is reported.", group="Evaluation")
    stop_on_divergence: bool = option(
        False, "Fail where loss or gradients explode, as always where they become NaN or infinite; checkpoints stay.", group="Evaluation"
    )
    load_best_model_at_end: bool = option(True, "Keep the checkpoint with the lowest evaluation loss as the result.", group="Evaluation")
    logging_steps: int = option(1, "Steps between two metric lines.", minimum=1, group="Evaluation", advanced=True)
    sample_prompts: list[str] = option([], "Prompts answered at every evaluation, to watch the behaviour change.", group="Evaluation")
    sample_max_new_tokens: int = option(48, "Length of those answers.", minimum=1, group="Evaluation", advanced=True, unit="tokens")
    save_steps: int = option(0, "Checkpoint every so many steps; 0: at every evaluation and at the end.", minimum=0, group="Checkpoints")
    save_minutes: float = option(15.0, "Checkpoint after so many minutes without one as well; 0: never.", minimum=0.0, group="Checkpoints")
    save_total_limit: int = option(2, "Checkpoints kept besides the best.", minimum=1, group="Checkpoints", advanced=True)
    loss_on: LossOn = option(
        "assistant", "Turns to learn from: every answer of the assistant, the last one only, or all that is shown.", group="Data",
        also={"completion_only_loss": {True: "assistant", False: "all"}, "assistant_only_loss": {True: "assistant", False: "all"}},
    )  # fmt: skip
    system_prompt: str = option("", "System message put before every example that has none.", group="Data")


def within_context(options: TrainingOptions, positions: int) -> TrainingOptions:
    """``options`` with ``max_length`` cut to what the model has positions for; every room that cuts examples comes through here.

    Args:
        positions: of the model, less the virtual tokens that the method puts in front of every text.

    Raises:
        Incompatible: none is left.
    """
    if positions < 1:
        raise Incompatible("the method's virtual tokens fill the model's whole context", "a smaller num_virtual_tokens")
    return options if options.max_length <= positions else replace(options, max_length=positions)


def require_processes(options: TrainingOptions, kind: str, devices: int) -> None:
    """Refuse a number of processes that is not that of the GPUs.

    Args:
        kind: of the devices, ``cuda`` or ``cpu``.
        devices: on which the run trains.

    Raises:
        UsageError: there would be more or fewer processes than GPUs.
    """
    if kind == "cuda" and options.num_processes not in (1, devices):
        raise UsageError(
            f"num_processes is {options.num_processes}, but on GPUs there is one process for each GPU, here {devices}",
            "leave it out, and name the GPUs: --gpus 0,1",
        )


def require_pageable(options: TrainingOptions, kind: str) -> None:
    """Refuse a paged optimizer where there is nothing to page.

    Args:
        kind: of the device, ``cuda`` or ``cpu``.

    Raises:
        Incompatible: the device is no GPU.
        UsageError: it does not go with ``master_copy``.
    """
    if options.optim == "adamw":
        return
    if kind != "cuda":
        raise Incompatible(f"optim={options.optim} pages a GPU's memory, and this run computes on the {kind.upper()}", "set optim=adamw")
    if options.master_copy == "fp32":
        raise UsageError(f"optim={options.optim} does not go with master_copy=fp32", "leave one of them out")


def require_master_copies(method: str, artifact: str, precision: str = "bf16") -> None:
    """Refuse ``master_copy=fp32`` where there is nothing for a copy to be a copy of.

    Args:
        artifact: `Method.artifact` of the method.
        precision: of the computation, where it is known.

    Raises:
        UsageError: the method trains no weights of the base, or the computation is not in bfloat16.
    """
    if artifact == "adapter":
        reason = f"master_copy=fp32 is for methods that train the base's own weights; what {method} trains is float32 anyway"
        raise UsageError(reason, "leave it out")
    if precision != "bf16":
        raise UsageError(f"master_copy=fp32 goes with bf16, this run computes in {precision}", "set bf16=true, or leave it out")
