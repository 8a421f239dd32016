"""What finished training runs took: the planner's record, read fast enough to be asked for at every key."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from .. import errors
from ..paths import Home
from ..planner.memory import CUDA_CONTEXT
from ..planner.record import Past
from . import records
from .spec import RunSpec, RunState

_NEWEST = 50
"""Folders of runs that are looked at."""

_known: dict[Path, Past | None] = {}
"""Of runs that will never be different: those of other kinds, and those that succeeded."""


def past_runs(home: Home) -> list[Past]:
    """Of the newest runs, the trainings that succeeded and were planned and measured, newest first.

    What was read once is remembered; a run that is going on, or that could be resumed, is looked at again each time.
    """
    names: list[str] = []
    with contextlib.suppress(FileNotFoundError):
        names = sorted((name for name in os.listdir(home.runs) if not name.startswith(".")), reverse=True)[:_NEWEST]
    found = (_read(home.runs / name) for name in names)
    return [past for past in found if past is not None]


def _read(folder: Path) -> Past | None:
    if folder in _known:
        return _known[folder]
    past = None
    with contextlib.suppress(OSError, errors.CorruptFile):
        spec = records.read_spec(folder)
        state = records.read_state(folder) if spec.kind == "train" else None
        if state is not None and state.state == "succeeded" and not state.overrides:  # what ran is what was planned
            past = _past(folder, spec, state)
        if state is None or state.state == "succeeded":
            _known[folder] = past
    return past


def _past(folder: Path, spec: RunSpec, state: RunState) -> Past | None:
    """``None``: it was not planned, or not measured."""
    ended = records.read_result(folder, state.attempt)
    result, request = ended.result if ended else {}, spec.request
    measured, planned = result.get("peak_memory_bytes") or 0, request.get("planned_memory_bytes") or 0
    if not measured or not planned:
        return None
    kind = "cpu" if state.devices == ["cpu"] else "cuda"
    return Past(
        kind=kind, model_path=request["model_path"], method=request["method"], planned_bytes=planned,
        measured_bytes=measured + (CUDA_CONTEXT if kind == "cuda" else 0), tensor_bytes=request.get("planned_tensor_bytes") or 0,
        overhead_bytes=request.get("planned_overhead_bytes") or 0,
        tokens_per_second=(result.get("tokens_per_second") or 0.0) / len(state.devices or [kind]),
    )  # fmt: skip
