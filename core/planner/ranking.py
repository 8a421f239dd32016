"""Every method on one model: which fit, how fast they train, when each is a good choice, and what would make it fit."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from .. import registry
from ..api import Task
from ..devices import Device
from .advice import settings_that_fit
from .case import Case, data_of, model_and_training, plan_case
from .memory import Plan, human_bytes
from .record import Past, measured_speeds
from .speed import relative_speed


class Ranked(Plan, kw_only=True):
    """A method's plan with its default options, and what to choose it by.

    Attributes:
        good_for: when it is a good choice, in the method's own words.
        relative_speed: expected tokens a second over those of full fine-tuning on the same data.
        speed_from: ``runs`` where this method trained this base on this machine, ``flops`` where its arithmetic was counted.
        tokens_per_second: expected, where any method has trained this base here; else none.
        settings: training options with which it would fit; empty where it fits, or where none are known.
    """

    good_for: str
    relative_speed: float
    speed_from: Literal["flops", "runs"] = "flops"
    tokens_per_second: float | None = None
    settings: dict[str, Any]


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
    past: Sequence[Past] = (),
) -> list[Ranked]:
    """A plan of every installed method that accepts the model, with its default options: first those that fit, and among them
    the one that trains most parameters; then those that would fit with other settings. Arguments as for `make_plan`."""
    model, training = model_and_training(model_folder, training_options, task, num_labels)
    data = data_of(lengths, loss_lengths, memory_bytes, device, past)
    cases = [Case(model, plugin, plugin.options(), training, data) for plugin in registry.load_all("methods").values()]
    rows = [_ranked(case) for case in cases if not case.refusal]
    return sorted(_with_measured(rows, measured_speeds(past, data.kind, str(model_folder))), key=_order)


def _ranked(case: Case) -> Ranked:
    plan = plan_case(case)
    change = None if plan.fits else settings_that_fit(case)
    return Ranked(
        **{name: getattr(plan, name) for name in plan.__struct_fields__ if name != "advice"},
        advice=[] if plan.fits else [_what_would(change.words, change.case) if change else "no change of settings is enough"],
        good_for=case.plugin.good_for,
        relative_speed=round(relative_speed(case.model, case.footprint, case.training, case.load), 2),
        settings=dict(change.settings) if change else {},
    )


def _with_measured(rows: list[Ranked], measured: Mapping[str, float]) -> list[Ranked]:
    """Speeds of past runs in place of counted ones. What full fine-tuning would reach here is the median of what each implies."""
    implied = [measured[row.method] / row.relative_speed for row in rows if row.method in measured]
    if not implied:
        return rows
    full = statistics.median(implied)
    for row in rows:
        if row.method in measured:
            row.relative_speed, row.speed_from = round(measured[row.method] / full, 2), "runs"
        row.tokens_per_second = round(full * row.relative_speed, 1)
    return rows


def _what_would(words: str, case: Case) -> str:
    return f"{words} needs {human_bytes(plan_case(case).total_bytes)}"


def _order(row: Ranked) -> tuple[int, int]:
    if row.fits:
        return 0, -row.trainable_parameters
    return (1 if row.settings else 2), row.total_bytes
