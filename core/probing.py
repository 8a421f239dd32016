"""A micro-batch trained for real in a worker of its own, to see what a plan is worth before a run is started. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from . import registry
from .api import Task
from .errors import DoesNotFit, NotFound, OutOfMemory, WorkFailed
from .options import parse
from .planner.memory import Plan, human_bytes
from .planner.reading import read_model
from .session import WorkerSession
from .training import TrainingOptions, within_context

_KILLED = "was killed by SIGKILL"


def probe_plan(
    plan: Plan,
    model_folder: Path,
    method_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    *,
    log: Path | None,
    gpus: str = "auto",
    task: Task = "causal-lm",
    num_labels: int = 2,
    lengths: Sequence[int] | None = None,
    loss_lengths: Sequence[int] | None = None,
) -> dict[str, Any]:
    """Train the longest micro-batch of a planned run, three times, and throw the result away.

    Args:
        lengths: tokens of every training example; none: all are as long as allowed.

    Returns:
        ``{peak_memory_bytes, live_bytes, seconds, tokens, device}``; the seconds are those of one step.

    Raises:
        NotFound: the model has no weights.
        DoesNotFit: the dry run says so, the device ran out of memory, or the system killed the worker for it.
        WorkFailed: the worker died of something else.
    """
    model = read_model(model_folder)
    if not model.has_weights:
        raise NotFound(f"{model_folder} has no weights: nothing can be trained to see what it takes", "plan without --probe, or get them")
    method = registry.load("methods", plan.method)
    taken = method.footprint(model, parse(method.options, method_options, owner=f"method '{plan.method}'")).virtual_tokens
    options = within_context(parse(TrainingOptions, training_options, owner="training"), model.max_length - taken)
    tokens, losses = _longest(options, lengths, loss_lengths)
    with WorkerSession(log, gpus=gpus, memory=plan.total_bytes, what="plan --probe") as session:
        try:
            return session.call(
                "probe", model_path=str(model_folder), method=plan.method, method_options=dict(method_options),
                training_options=dict(training_options), task=task, num_labels=num_labels, lengths=tokens, loss_lengths=losses,
            )  # fmt: skip
        except (OutOfMemory, WorkFailed) as problem:
            if isinstance(problem, WorkFailed) and _KILLED not in problem.message:
                raise
            raise DoesNotFit(
                f"{plan.method} did not fit: {len(tokens)} examples of up to {tokens[0]:,} tokens were tried, planned were "
                f"{human_bytes(plan.total_bytes)} ({problem.message.splitlines()[0]})",
                "; ".join(plan.advice)
                or "a smaller per_device_train_batch_size, gradient_checkpointing=true or a shorter max_length need less",
            ) from None


def _longest(options: TrainingOptions, lengths: Sequence[int] | None, loss_lengths: Sequence[int] | None) -> tuple[list[int], list[int]]:
    """(tokens, loss tokens) of the examples of the largest micro-batch that there can be."""
    batch, most = options.per_device_train_batch_size, options.max_length
    if not lengths:
        return [most] * batch, [most - 1] * batch
    pairs = sorted(zip(lengths, loss_lengths or lengths, strict=True), reverse=True)[:batch]
    return [min(length, most) for length, _ in pairs], [min(loss, most) for _, loss in pairs]
