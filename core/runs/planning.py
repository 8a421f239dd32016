"""Plans of training runs on this machine's devices, with the lengths of their data: what the form shows and a launch decides by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..api import Example, Task
from ..catalog.entries import ModelEntry
from ..devices import Device, select
from ..options import parse
from ..planner.advice import Change, make_fit, make_plan
from ..planner.memory import Plan
from ..planner.ranking import Ranked, rank_methods
from ..planner.record import Past
from ..planner.workload import guess_lengths
from ..training import TrainingOptions


def devices_for(gpus: str) -> list[Device]:
    """The devices of ``--gpus`` as a run is planned on them: a GPU as if it were empty, since the run waits until enough of it is free.

    Returns:
        Any of them will do: of several that are named, each of which holds a copy of the model, only the smallest is here.

    Raises:
        NotFound, Refused, UsageError: as `select`.
    """
    devices = [
        msgspec.structs.replace(device, memory_free=device.memory_total) if device.kind == "cuda" else device for device in select(gpus)
    ]
    return devices if gpus == "auto" else [min(devices, key=lambda device: device.memory_free)]


def plan_on(
    device: Device,
    model: ModelEntry,
    method: str,
    method_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    *,
    task: Task = "causal-lm",
    num_labels: int = 2,
    rows: Sequence[Example] = (),
    past: Sequence[Past] = (),
) -> Plan:
    """The plan of a run on one device, as the launch decides by it: with the lengths of ``rows`` where they are known."""
    known: dict[str, Any] = {"task": task, "num_labels": num_labels, "device": device, "past": past}
    return make_plan(Path(model.path), method, method_options, training_options, **known, **_lengths(rows, training_options))


def fit_on(
    device: Device,
    model: ModelEntry,
    method: str,
    method_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    *,
    task: Task = "causal-lm",
    num_labels: int = 2,
    rows: Sequence[Example] = (),
    past: Sequence[Past] = (),
) -> Change | None:
    """The gentlest change of training options with which a run fits that `plan_on` finds too large for the device."""
    known: dict[str, Any] = {"task": task, "num_labels": num_labels, "device": device, "past": past}
    return make_fit(Path(model.path), method, method_options, training_options, **known, **_lengths(rows, training_options))


def rank_on(
    device: Device,
    model: ModelEntry,
    training_options: Mapping[str, Any],
    *,
    task: Task = "causal-lm",
    num_labels: int = 2,
    rows: Sequence[Example] = (),
    past: Sequence[Past] = (),
) -> list[Ranked]:
    """Every method on one device, as `plan_on` would plan it with its default options."""
    known: dict[str, Any] = {"task": task, "num_labels": num_labels, "device": device, "past": past}
    return rank_methods(Path(model.path), training_options, **known, **_lengths(rows, training_options))


def _lengths(rows: Sequence[Example], training_options: Mapping[str, Any]) -> dict[str, Any]:
    """Tokens and loss tokens of the rows, guessed from their text; nothing without rows."""
    options: TrainingOptions = parse(TrainingOptions, training_options, owner="training")
    lengths, loss_lengths = guess_lengths(rows, loss_on=options.loss_on)
    return {"lengths": lengths or None, "loss_lengths": loss_lengths or None}
