"""Failures that another attempt follows without being asked: those of the moment, and too little memory, with a smaller batch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from .spec import RunSpec, RunState
from .verdict import Verdict

BUSY_PAUSES = (5.0, 30.0, 120.0)
"""Seconds before each further attempt of a run whose GPU was in use by somebody outside FineTUI."""


class Retry(msgspec.Struct, frozen=True):
    """One more attempt.

    Attributes:
        reason: why, for the state.
        pause: seconds before it.
        overrides: `RunState.overrides` of the attempt.
    """

    reason: str
    pause: float
    overrides: dict[str, Any]


def next_try(spec: RunSpec, state: RunState, end: Verdict, tries: int) -> Retry | None:
    """Whether an attempt that ended so is followed by another.

    Args:
        tries: how many have followed because the GPU was busy.
    """
    kind = (end.error or {}).get("kind")
    if kind == "device_busy" and tries < len(BUSY_PAUSES):
        return Retry("the GPU was in use by others", BUSY_PAUSES[tries], state.overrides)
    if kind in ("out_of_memory", "does_not_fit") and not state.overrides:  # found out by running, or by the dry run
        smaller = smaller_batch(spec.request.get("options") or spec.request.get("training_options", {}))
        if smaller:
            size, steps = smaller["per_device_train_batch_size"], smaller["gradient_accumulation_steps"]
            return Retry(f"out of memory: with {size} examples at a time, {steps} times a step", 0.0, smaller)
    return None


def smaller_batch(options: Mapping[str, Any]) -> dict[str, int]:
    """Half the micro-batch and twice the accumulation, so that a step sees the same examples; of an odd one the next smaller divisor.

    Args:
        options: training options as they take effect.

    Returns:
        Empty where that is not allowed, or one example at a time is too much already.
    """
    size, steps = int(options.get("per_device_train_batch_size", 1)), int(options.get("gradient_accumulation_steps", 1))
    if not options.get("auto_find_batch_size") or size < 2:
        return {}
    factor = next(number for number in range(2, size + 1) if size % number == 0)
    return {"per_device_train_batch_size": size // factor, "gradient_accumulation_steps": steps * factor}
