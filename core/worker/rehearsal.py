"""What the training job does before it loads weights: a dry run of its largest micro-batch, and a refusal where that cannot fit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import torch

from ..api import Encoded, Method, ModelSpec
from ..devices import Device, cpu_device, select
from ..errors import DeviceBusy, DoesNotFit
from ..planner.advice import advice_by_count
from ..planner.case import Case, Data
from ..planner.memory import human_bytes
from ..runs.job import Job
from ..training import TrainingOptions
from .batches import Schedule, lengths_of, loss_tokens
from .dryrun import DryRun, dry_run
from .precision import Precision

_EPOCHS = 3
"""Whose micro-batches are looked through; later ones are drawn from the same examples."""


def rehearse(
    job: Job,
    spec: ModelSpec,
    method: Method,
    method_options: Any,
    options: TrainingOptions,
    examples: Sequence[Encoded],
    schedule: Schedule,
    *,
    device: torch.device,
    precision: Precision,
) -> DryRun | None:
    """Dry-run the largest micro-batch and say what it takes; nothing where the method or the architecture cannot be run so.

    Args:
        spec: made for the task.

    Raises:
        DoesNotFit: its live tensors alone need more than the device has free, or than this process's part of it on a CPU.
        DeviceBusy: the same, but the empty GPU would be large enough.
    """
    batch = _largest_micro_batch(examples, schedule, options)
    try:
        found = dry_run(spec, method, method_options, options, batch, device=device, precision=precision)
    except Exception as problem:  # mostly of a library, about tensors without contents: the run itself may well work
        job.event("warning", f"no dry run of {method.name} on {spec.architecture}: {str(problem).splitlines()[0]}")
        return None
    free = free_bytes(device)
    parts = ", ".join(f"{name} {human_bytes(size)}" for name, size in found.parts.items() if size)
    job.event(
        "dry_run", f"a step of {found.tokens:,} tokens needs {human_bytes(found.total_bytes)}: {parts}",
        **msgspec.to_builtins(found), free_bytes=free,
    )  # fmt: skip
    if found.total_bytes * (schedule.processes if device.type == "cpu" else 1) > free:
        sizes = Data([int(n) for n in lengths_of(examples)], [int(loss_tokens(each)) for each in examples], free, here(device))
        if device.type == "cuda" and found.total_bytes <= torch.cuda.mem_get_info(device)[1]:
            raise DeviceBusy(
                f"a step needs {human_bytes(found.total_bytes)}, and others use this GPU: {human_bytes(free)} are free now",
                "try again when they are done: finetui runs resume",
            )
        raise too_large(found, Case(spec, method, method_options, options, sizes))
    return found


def too_large(found: DryRun, case: Case) -> DoesNotFit:
    """The refusal of a micro-batch whose tensors alone are more than is free, with the advice that a launch gives."""
    return DoesNotFit(
        f"{case.plugin.name} needs {human_bytes(found.total_bytes)} for its largest micro-batch of {found.tokens:,} tokens, "
        f"{human_bytes(case.memory_bytes)} are free",
        "; ".join(advice_by_count(case, found.total_bytes)),
    )


def here(device: torch.device) -> Device:
    """The device as the planner describes it."""
    return select("auto")[0] if device.type == "cuda" else cpu_device()


def free_bytes(device: torch.device) -> int:
    """Memory that this process can still get on its device."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else cpu_device().memory_free


def _largest_micro_batch(examples: Sequence[Encoded], schedule: Schedule, options: TrainingOptions) -> list[Encoded]:
    """The examples of the micro-batch with most tokens, of those that the run will meet."""
    lengths = lengths_of(examples)
    steps = min(schedule.total_steps(options.max_steps, options.num_train_epochs), _EPOCHS * schedule.steps_per_epoch)
    micro_batches = (numbers for step in range(steps) for numbers in schedule.step(step))
    return [examples[number] for number in max(micro_batches, key=lambda numbers: sum(lengths[number] for number in numbers))]
