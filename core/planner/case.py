"""One run to be planned: everything that its memory depends on, and the plan of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..api import Footprint, Method, Task
from ..devices import Device, select
from ..dropout import dropout_settings
from ..modelspec import ModelSpec
from ..options import parse
from ..training import TrainingOptions, within_context
from .activations import keeps_documents_apart
from .memory import Plan, devices_needed, estimate, spread
from .precision import choose
from .reading import read_model
from .record import Past, Record, record_of
from .tasks import for_task
from .workload import Workload, largest_batch


@dataclass(frozen=True)
class Data:
    """What is known of the data, and of the device.

    Attributes:
        lengths: tokens of every training example; none: all are taken to be ``max_length`` long.
        loss_lengths: loss tokens of every example; none: all their tokens.
        memory_bytes: planned for.
        device: none: a GPU of ``memory_bytes``.
        record: of past plans on this kind of device.
    """

    lengths: Sequence[int] | None
    loss_lengths: Sequence[int] | None
    memory_bytes: int
    device: Device | None
    record: Record = Record()

    @property
    def kind(self) -> str:
        """Of the device."""
        return self.device.kind if self.device else "cuda"


@dataclass(frozen=True)
class Case:
    """Everything a plan depends on; advice varies one or two of these and plans again."""

    model: ModelSpec
    plugin: Method
    options: Any
    training: TrainingOptions
    data: Data

    @property
    def task(self) -> Task:
        """As the model is described for."""
        return "seq-cls" if self.model.task == "seq-cls" else "causal-lm"

    @property
    def memory_bytes(self) -> int:
        """What one process may use: on a CPU they share it."""
        return self.data.memory_bytes // (self.training.num_processes if self.data.kind == "cpu" else 1)

    @property
    def refusal(self) -> str:
        """Why the method cannot train the model; empty when it can."""
        return self.plugin.refusal(self.model, self.task, self.options)

    @property
    def footprint(self) -> Footprint:
        """Of the method on the model."""
        return self.plugin.footprint(self.model, self.options)

    @property
    def load(self) -> Workload:
        """Its largest micro-batch."""
        packed = self.training.packing and self.plugin.packs and keeps_documents_apart(self.model)
        load = largest_batch(self.training, self.data.lengths, self.data.loss_lengths, packed=packed)
        return replace(load, loss_tokens=0) if self.task == "seq-cls" else load  # a handful of classes instead of a vocabulary

    def with_training(self, **settings: Any) -> Case:
        """The same with other training options."""
        return replace(self, training=replace(self.training, **settings))

    def with_method(self, plugin: Method) -> Case:
        """The same with another method, its options at their defaults."""
        return replace(self, plugin=plugin, options=plugin.options())


def data_of(
    lengths: Sequence[int] | None,
    loss_lengths: Sequence[int] | None,
    memory_bytes: int | None,
    device: Device | None,
    past: Sequence[Past] = (),
) -> Data:
    """Data and device, the latter that of ``--gpus auto`` where neither it nor a size is given."""
    if device is None and memory_bytes is None:
        device = select("auto")[0]
    if memory_bytes is None:
        memory_bytes = device.memory_free if device else 0
    return Data(lengths, loss_lengths, memory_bytes, device, record_of(past, device.kind if device else "cuda"))


def model_and_training(
    folder: Path, settings: Mapping[str, Any], task: Task, num_labels: int
) -> tuple[ModelSpec, TrainingOptions]:  # fmt: skip
    """The base made for its task, with the dropout of the run, and the training options.

    Raises:
        UsageError, NotFound, CorruptFile, UnsafeFile.
    """
    model = for_task(read_model(folder), task, num_labels)
    training = within_context(parse(TrainingOptions, settings, owner="training"), model.max_length)
    return replace(model, config={**model.config, **dropout_settings(model.config, training.dropout)}), training


def plan_case(case: Case) -> Plan:
    """What the case needs, without advice."""
    footprint, load, memory, device = case.footprint, case.load, case.memory_bytes, case.data.device
    on_cpu = device is not None and device.kind == "cpu"
    precision = choose(case.training, device)
    parts = estimate(
        case.model, footprint, case.training, load, precision=precision, master_copy=case.training.master_copy, on_cpu=on_cpu
    )  # fmt: skip
    parts["overhead"] = round(parts["overhead"] * case.data.record.overhead_factor)
    total = sum(parts.values())
    low, high = spread(total, on_cpu)
    return Plan(
        method=case.plugin.name, total_bytes=total, parts=parts, devices_needed=devices_needed(parts, memory),
        fits=total <= memory, advice=[], memory_bytes=memory, low_bytes=low, high_bytes=high, tokens=load.tokens,
        trainable_parameters=footprint.trainable_parameters, total_parameters=case.model.parameters + footprint.added_parameters,
        precision=precision, device=device.id if device else "", record=case.data.record,
    )  # fmt: skip
