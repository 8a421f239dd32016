"""What a run will need, whether it fits, and what would: the one entry that the form, ``plan`` and the launch all use."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from .. import registry
from ..api import Method, Task
from ..devices import Device, select
from ..dropout import dropout_settings
from ..errors import DoesNotFit, Incompatible
from ..modelspec import ModelSpec
from ..options import parse
from ..training import TrainingOptions, within_context
from .activations import keeps_documents_apart
from .memory import Plan, devices_needed, estimate, human_bytes, spread
from .precision import choose
from .reading import read_model
from .tasks import for_task
from .workload import largest_batch

_SMALLER_METHODS = {"full": ("lora", "qlora"), "lora": ("qlora",)}
"""Methods that do a similar job in less memory, nearest first."""

_SHORTEST = 64
"""Tokens below which shortening the examples is no help worth giving."""


@dataclass(frozen=True)
class _Case:
    """Everything a plan depends on; advice varies one or two of these and plans again."""

    model: ModelSpec
    plugin: Method
    options: Any
    training: TrainingOptions
    task: Task
    lengths: Sequence[int] | None
    loss_lengths: Sequence[int] | None
    memory_bytes: int
    device: Device | None

    @property
    def on_cpu(self) -> bool:
        return self.device is not None and self.device.kind == "cpu"


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

    Raises:
        Incompatible: the method cannot train this model; says why.
        UsageError: an unknown or wrong option.
        NotFound, CorruptFile, UnsafeFile: the model's files, see `read_model`.
    """
    plugin: Method = registry.load("methods", method)
    options = parse(plugin.options, method_options, owner=f"method '{method}'")
    model = for_task(read_model(model_folder), task, num_labels)
    training = within_context(parse(TrainingOptions, training_options, owner="training"), model.max_length)
    refusal = plugin.refusal(model, task, options)
    if refusal:
        raise Incompatible(refusal, "`finetui methods list` shows the others")
    case = _case(model, plugin, options, training, task, lengths, loss_lengths, memory_bytes, device)
    plan = _plan(case)
    return plan if plan.fits else msgspec.structs.replace(plan, advice=_advise(case, plan))


def rank_methods(
    model_folder: Path,
    training_options: Mapping[str, Any],
    *,
    task: Task = "causal-lm",
    num_labels: int = 2,
    memory_bytes: int | None = None,
    lengths: Sequence[int] | None = None,
    loss_lengths: Sequence[int] | None = None,
    device: Device | None = None,
) -> list[Plan]:
    """A plan of every installed method that accepts the model, with its default options: those that fit first, and among
    them the one that trains most parameters."""
    model = for_task(read_model(model_folder), task, num_labels)
    training = within_context(parse(TrainingOptions, training_options, owner="training"), model.max_length)
    plans = []
    for plugin in registry.load_all("methods").values():
        options = plugin.options()
        if not plugin.refusal(model, task, options):
            plans.append(_plan(_case(model, plugin, options, training, task, lengths, loss_lengths, memory_bytes, device)))
    return sorted(plans, key=lambda plan: (not plan.fits, -plan.trainable_parameters if plan.fits else plan.total_bytes))


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


def _case(
    model: ModelSpec,
    plugin: Method,
    options: Any,
    training: TrainingOptions,
    task: Task,
    lengths: Sequence[int] | None,
    loss_lengths: Sequence[int] | None,
    memory_bytes: int | None,
    device: Device | None,
) -> _Case:
    if device is None and memory_bytes is None:
        device = select("auto")[0]
    if memory_bytes is None:
        memory_bytes = device.memory_free if device else 0
    return _Case(model, plugin, options, training, task, lengths, loss_lengths, memory_bytes, device)


def _plan(case: _Case) -> Plan:
    footprint = case.plugin.footprint(case.model, case.options)
    packed = case.training.packing and case.plugin.packs and keeps_documents_apart(case.model)
    load = largest_batch(case.training, case.lengths, case.loss_lengths, packed=packed)
    if case.task == "seq-cls":
        load = replace(load, loss_tokens=0)  # a handful of classes instead of a vocabulary
    precision = choose(case.training, case.device)
    dropout = dropout_settings(case.model.config, case.training.dropout)
    model = replace(case.model, config={**case.model.config, **dropout})
    parts = estimate(model, footprint, case.training, load, precision=precision, master_copy=case.training.master_copy, on_cpu=case.on_cpu)
    total = sum(parts.values())
    low, high = spread(total, case.on_cpu)
    return Plan(
        method=case.plugin.name, total_bytes=total, parts=parts, devices_needed=devices_needed(parts, case.memory_bytes),
        fits=total <= case.memory_bytes, advice=[], memory_bytes=case.memory_bytes, low_bytes=low, high_bytes=high, tokens=load.tokens,
        trainable_parameters=footprint.trainable_parameters, total_parameters=case.model.parameters + footprint.added_parameters,
        precision=precision, device=case.device.id if case.device else "",
    )  # fmt: skip


def _advise(case: _Case, plan: Plan) -> list[str]:
    """What would fit: single changes first; where none is enough, the smallest that these changes reach together."""
    sentences = []
    for words, changed in _single_changes(case):
        other = _plan(changed)
        if other.fits:
            sentences.append(f"{words} needs {human_bytes(other.total_bytes)}, {human_bytes(plan.total_bytes - other.total_bytes)} less")
    if sentences:
        return sentences
    for words, changed in _joint_changes(case):
        other = _plan(changed)
        if other.fits:
            return [f"{words} needs {human_bytes(other.total_bytes)}, {human_bytes(plan.total_bytes - other.total_bytes)} less"]
    smallest = min((_plan(changed) for _, changed in [("", case), *_joint_changes(case)]), key=lambda other: other.total_bytes)
    return [
        f"nothing here fits: the least is {smallest.method} with one example at a time and gradient checkpointing, "
        f"{human_bytes(smallest.total_bytes)}; a smaller model or a larger device is needed"
    ]


def _single_changes(case: _Case) -> Iterator[tuple[str, _Case]]:
    """Changes of one setting, each as strong as it must be to fit (or as it can be)."""
    yield _smaller_batch(case)
    if not case.training.gradient_checkpointing:
        yield "gradient_checkpointing=true", _with_training(case, gradient_checkpointing=True)
    longest = max(case.lengths) if case.lengths else case.training.max_length
    length = min(longest, case.training.max_length) // 2
    while length >= _SHORTEST:
        shorter = _with_training(case, max_length=length)
        if _plan(shorter).fits:
            yield f"max_length={length}", shorter
            break
        length //= 2
    for changed in _smaller_methods(case):
        yield f"the method {changed.plugin.name}", changed


def _joint_changes(case: _Case) -> Iterator[tuple[str, _Case]]:
    """One example at a time with checkpointing, for the wanted method and then for smaller ones."""
    for base in (case, *_smaller_methods(case)):
        effective = base.training.per_device_train_batch_size * base.training.gradient_accumulation_steps
        settings = {"gradient_checkpointing": True, "per_device_train_batch_size": 1, "gradient_accumulation_steps": effective}
        words = ", ".join(f"{name}={str(value).lower()}" for name, value in settings.items())
        method = "" if base is case else f"the method {base.plugin.name} with "
        yield method + words, _with_training(base, **settings)


def _smaller_batch(case: _Case) -> tuple[str, _Case]:
    """The largest smaller micro-batch that fits, accumulated to the same effective batch; one example where none does."""
    batch, accumulation = case.training.per_device_train_batch_size, case.training.gradient_accumulation_steps
    effective = batch * accumulation
    for size in range(batch - 1, 1, -1):
        changed = _with_training(case, per_device_train_batch_size=size, gradient_accumulation_steps=effective // size)
        if effective % size == 0 and _plan(changed).fits:
            return _batch_words(size, effective), changed
    return _batch_words(1, effective), _with_training(case, per_device_train_batch_size=1, gradient_accumulation_steps=effective)


def _batch_words(size: int, effective: int) -> str:
    return f"per_device_train_batch_size={size} with gradient_accumulation_steps={effective // size} (the same effective batch)"


def _smaller_methods(case: _Case) -> list[_Case]:
    """The same training with the methods that do a similar job in less memory, options at their defaults."""
    cases = []
    for name in _SMALLER_METHODS.get(case.plugin.name, ()):
        if name in registry.names("methods"):
            plugin: Method = registry.load("methods", name)
            options = plugin.options()
            if not plugin.refusal(case.model, case.task, options):
                cases.append(replace(case, plugin=plugin, options=options))
    return cases


def _with_training(case: _Case, **settings: Any) -> _Case:
    return replace(case, training=replace(case.training, **settings))
