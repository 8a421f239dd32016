"""Whether a run fits, and what would: the one entry that the form, ``plan`` and the launch all use."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from .. import registry
from ..api import Method, Task
from ..devices import Device
from ..errors import DoesNotFit, Incompatible
from ..options import parse
from .case import Case, Data, data_of, model_and_training, plan_case
from .memory import Plan, human_bytes
from .record import Past

_SHORTEST = 64
"""Tokens below which shortening the examples is no help worth giving."""


@dataclass(frozen=True)
class Change:
    """A way to need less.

    Attributes:
        words: for people.
        settings: training options that differ from what was asked for.
    """

    words: str
    settings: Mapping[str, Any]
    case: Case


def make_plan(
    model_folder: Path,
    method: str,
    method_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    *,
    task: Task = "causal-lm",
    num_labels: int = 2,
    memory_bytes: int | None = None,
    lengths: Sequence[int] | None = None,
    loss_lengths: Sequence[int] | None = None,
    device: Device | None = None,
    past: Sequence[Past] = (),
) -> Plan:
    """Plan one run in milliseconds, without torch.

    Args:
        model_folder: with ``config.json``; weights need not be there for known architectures.
        method_options: values that differ from the method's defaults.
        training_options: values that differ from `TrainingOptions`' defaults.
        num_labels: classes of ``seq-cls``.
        memory_bytes: plan for a device of this size; none: for what ``device`` has free.
        lengths: tokens of every training example; none: all are taken to be ``max_length`` long.
        loss_lengths: loss tokens of every example; none: all their tokens.
        device: none: a GPU of ``memory_bytes``, or without that the device that ``--gpus auto`` would take.
        past: runs of this machine, which the overhead is learned from.

    Raises:
        Incompatible: the method cannot train this model; says why.
        UsageError: an unknown or wrong option.
        NotFound, CorruptFile, UnsafeFile: the model's files, see `read_model`.
    """
    data = data_of(lengths, loss_lengths, memory_bytes, device, past)
    case = _case(model_folder, method, method_options, training_options, task, num_labels, data)
    plan = plan_case(case)
    return plan if plan.fits else msgspec.structs.replace(plan, advice=_advise(case, plan))


def make_fit(
    model_folder: Path,
    method: str,
    method_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    *,
    device: Device,
    task: Task = "causal-lm",
    num_labels: int = 2,
    lengths: Sequence[int] | None = None,
    loss_lengths: Sequence[int] | None = None,
    past: Sequence[Past] = (),
) -> Change | None:
    """The gentlest change of settings with which a run that `make_plan` finds too large fits; none where no setting is enough.
    Arguments and errors as there."""
    data = data_of(lengths, loss_lengths, None, device, past)
    return settings_that_fit(_case(model_folder, method, method_options, training_options, task, num_labels, data))


def _case(
    folder: Path, method: str, method_options: Mapping[str, Any], training_options: Mapping[str, Any], task: Task, labels: int, data: Data
) -> Case:
    """The run to be planned; raises `Incompatible` where the method cannot train the model."""
    plugin: Method = registry.load("methods", method)
    options = parse(plugin.options, method_options, owner=f"method '{method}'")
    model, training = model_and_training(folder, training_options, task, labels)
    case = Case(model, plugin, options, training, data)
    if refusal := case.refusal:
        raise Incompatible(refusal, "`finetui methods list` shows the others")
    return case


def require_fit(plan: Plan, device: Device | None = None) -> None:
    """Let a run that fits pass.

    Raises:
        DoesNotFit: names what is needed and what is there; the hint says what would fit.
    """
    if plan.fits:
        return
    where = f"free on {device.name}" if device else "there"
    raise DoesNotFit(
        f"{plan.method} needs about {human_bytes(plan.total_bytes)} at its peak, {human_bytes(plan.memory_bytes)} are {where}",
        "; ".join(plan.advice),
    )


def advice_by_count(case: Case, counted_bytes: int) -> list[str]:
    """What would fit where a run's own count of its tensors is more than there is: the formula's figures at that count's scale."""
    plan = plan_case(case)
    memory = round(case.data.memory_bytes * min(1.0, plan.total_bytes / counted_bytes))
    return _advise(replace(case, data=replace(case.data, memory_bytes=memory)), plan)


def settings_that_fit(case: Case) -> Change | None:
    """The gentlest change of settings with which the same method fits: one that keeps the training the same before one that
    shortens the examples, and one before two together."""
    changes = (*_single_changes(case), _smallest(case))
    return next((change for change in changes if plan_case(change.case).fits), None)


def _advise(case: Case, plan: Plan) -> list[str]:
    """What would fit: single changes first; where none is enough, the smallest that these changes reach together."""
    others = [(case.with_method(plugin), plugin) for plugin in _lighter_methods(case, plan)]
    methods = [Change(f"the method {plugin.name}", {}, other) for other, plugin in others]
    sentences = [_sentence(change, plan) for change in _single_changes(case) if plan_case(change.case).fits]
    fitting = [change for change in methods if plan_case(change.case).fits]
    sentences += [_sentence(change, plan) for change in fitting]
    if sentences:
        return sentences
    together = [_smallest(case), *(_smallest(other, f"the method {plugin.name} with ") for other, plugin in others)]
    fitting = [change for change in together if plan_case(change.case).fits]
    if fitting:
        return [_sentence(fitting[0], plan)]
    smallest = min((plan_case(change.case) for change in together), key=lambda other: other.total_bytes)
    return [
        f"nothing here fits: the least is {smallest.method} with one example at a time and gradient checkpointing, "
        f"{human_bytes(smallest.total_bytes)}; a smaller model or a larger device is needed"
    ]


def _sentence(change: Change, plan: Plan) -> str:
    needed = plan_case(change.case).total_bytes
    text = f"{change.words} needs {human_bytes(needed)}, {human_bytes(plan.total_bytes - needed)} less"
    reason = change.case.plugin.good_for
    return f"{text} ({reason.rstrip('.')})" if reason and change.case.plugin.name != plan.method else text


def _single_changes(case: Case) -> Iterator[Change]:
    """Changes of one setting, each as strong as it must be to fit (or as it can be); those that cost nothing but time first."""
    yield _smaller_batch(case)
    if case.data.kind == "cpu" and case.training.num_processes > 1:
        accumulation = case.training.gradient_accumulation_steps * case.training.num_processes
        words = f"num_processes=1 with gradient_accumulation_steps={accumulation} (the same effective batch)"
        yield _change(case, words, num_processes=1, gradient_accumulation_steps=accumulation)
    if not case.training.gradient_checkpointing:
        yield _change(case, "gradient_checkpointing=true", gradient_checkpointing=True)
    longest = max(case.data.lengths) if case.data.lengths else case.training.max_length
    length = min(longest, case.training.max_length) // 2
    while length >= _SHORTEST:
        shorter = _change(case, f"max_length={length}", max_length=length)
        if plan_case(shorter.case).fits:
            yield shorter
            break
        length //= 2


def _smallest(case: Case, words: str = "") -> Change:
    """One example at a time, with checkpointing."""
    effective = case.training.per_device_train_batch_size * case.training.gradient_accumulation_steps
    settings = {"gradient_checkpointing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": effective}
    return _change(case, words + ", ".join(f"{name}={str(value).lower()}" for name, value in settings.items()), **settings)


def _smaller_batch(case: Case) -> Change:
    """The largest smaller micro-batch that fits, accumulated to the same effective batch; one example where none does."""
    batch, accumulation = case.training.per_device_train_batch_size, case.training.gradient_accumulation_steps
    effective = batch * accumulation
    sizes = [size for size in range(batch - 1, 1, -1) if effective % size == 0]
    for size in [*sizes, 1]:
        words = f"per_device_train_batch_size={size} with gradient_accumulation_steps={effective // size} (the same effective batch)"
        change = _change(case, words, per_device_train_batch_size=size, gradient_accumulation_steps=effective // size)
        if size == 1 or plan_case(change.case).fits:
            return change
    raise AssertionError("the last size is 1")


def _change(case: Case, words: str, **settings: Any) -> Change:
    return Change(words, settings, case.with_training(**settings))


def _lighter_methods(case: Case, plan: Plan) -> list[Method]:
    """Installed methods that suit most tasks and need less than this one, those that train about as much as it does first."""
    found: list[tuple[float, int, Method]] = []
    for plugin in registry.load_all("methods").values():
        other = case.with_method(plugin)
        if plugin.suits_most and plugin.name != plan.method and not other.refusal:
            planned = plan_case(other)
            if planned.total_bytes < plan.total_bytes:
                distance = abs(math.log(max(1, plan.trainable_parameters) / max(1, planned.trainable_parameters)))
                found.append((distance, -planned.total_bytes, plugin))
    return [plugin for _, _, plugin in sorted(found, key=lambda row: row[:2])]
