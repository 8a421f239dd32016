"""How well plans agreed with what past runs on this machine took, and what is learned from that."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

_ENOUGH = 5
"""Runs from which on the overhead is learned."""

_BOUNDS = (0.5, 2.0)
"""What may be learned, times the overhead that is assumed otherwise: a few odd runs must not make plans useless."""


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """A training run that succeeded.

    Attributes:
        kind: of its device, ``cpu`` or ``cuda``.
        model_path: of its base.
        planned_bytes: the peak, as it was planned.
        measured_bytes: the peak, a driver's context included.
        tensor_bytes: of the plan, what is not overhead; 0 where it is not known.
        overhead_bytes: of the plan, before anything was learned; 0 where it is not known.
        tokens_per_second: of its training steps, on each of its devices; 0 where it is not known.
    """

    kind: str
    model_path: str
    method: str
    planned_bytes: int
    measured_bytes: int
    tensor_bytes: int = 0
    overhead_bytes: int = 0
    tokens_per_second: float = 0.0


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """The planner's record on one kind of device.

    Attributes:
        runs: past runs that it is made of.
        median_ratio: planned over measured; none without runs.
        worst_ratio: the one farthest from 1, whether above or below.
        overhead_runs: runs that the overhead was learned from; 0: it was not.
        overhead_factor: learned, times what is assumed otherwise.
    """

    runs: int = 0
    median_ratio: float | None = None
    worst_ratio: float | None = None
    overhead_runs: int = 0
    overhead_factor: float = 1.0


def record_of(past: Sequence[Past], kind: str) -> Record:
    """The record on devices of one kind; from five runs on with the overhead that they had, by their median and within bounds."""
    ratios = [run.planned_bytes / run.measured_bytes for run in past if run.kind == kind]
    if not ratios:
        return Record()
    factors = [(run.measured_bytes - run.tensor_bytes) / run.overhead_bytes for run in past if run.kind == kind and run.overhead_bytes]
    learned = len(factors) >= _ENOUGH
    low, high = _BOUNDS
    return Record(
        runs=len(ratios), median_ratio=round(statistics.median(ratios), 3),
        worst_ratio=round(max(ratios, key=lambda ratio: abs(math.log(ratio))), 3), overhead_runs=len(factors) if learned else 0,
        overhead_factor=round(min(high, max(low, statistics.median(factors))), 3) if learned else 1.0,
    )  # fmt: skip


def measured_speeds(past: Sequence[Past], kind: str, model_path: str) -> dict[str, float]:
    """Method → median tokens a second of its runs on this base and kind of device."""
    found: dict[str, list[float]] = {}
    for run in past:
        if run.kind == kind and run.model_path == model_path and run.tokens_per_second > 0:
            found.setdefault(run.method, []).append(run.tokens_per_second)
    return {method: statistics.median(speeds) for method, speeds in found.items()}
