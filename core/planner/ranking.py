"""Every method on one model: which fit, how fast they train, when each is a good choice, and what would make it fit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .. import registry
from ..api import Task
from ..devices import Device
from .advice import settings_that_fit
from .case import Case, data_of, model_and_training, plan_case
from .memory import Plan, human_bytes
from .speed import relative_speed


class Ranked(Plan, kw_only=True):
    """A method's plan with its default options, and what to choose it by.

    Attributes:
        good_for: when it is a good choice, in the method's own words.
        relative_speed: expected tokens a second over those of full fine-tuning on the same data.
        settings: training options with which it would fit; empty where it fits, or where none are known.
    """

    good_for: str
    relative_speed: float
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
) -> list[Ranked]:
    """A plan of every installed method that accepts the model, with its default options: first those that fit, and among them
    the one that trains most parameters; then those that would fit with other settings. Arguments as for `make_plan`."""
    model, training = model_and_training(model_folder, training_options, task, num_labels)
    data = data_of(lengths, loss_lengths, memory_bytes, device)
    cases = [Case(model, plugin, plugin.options(), training, data) for plugin in registry.load_all("methods").values()]
    return sorted((_ranked(case) for case in cases if not case.refusal), key=_order)


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


def _what_would(words: str, case: Case) -> str:
    return f"{words} needs {human_bytes(plan_case(case).total_bytes)}"


def _order(row: Ranked) -> tuple[int, int]:
    if row.fits:
        return 0, -row.trainable_parameters
    return (1 if row.settings else 2), row.total_bytes
