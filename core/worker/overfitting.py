"""Over-fitting: the loss on the evaluation rows rises while the loss on the training rows goes on falling."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec


class Reading(msgspec.Struct, frozen=True):
    """The two losses at an evaluation.

    Attributes:
        step: of the evaluation.
        training: mean loss of the optimizer steps since the evaluation before.
        evaluation: mean loss of the evaluation rows.
    """

    step: int
    training: float
    evaluation: float


def parted(readings: Sequence[Reading], evaluations: int) -> bool:
    """Whether the losses have parted: in each of the last ``evaluations`` the evaluation loss was above the one before, and
    the training loss is below what it was when that began."""
    window = readings[-(evaluations + 1) :]
    if evaluations < 1 or len(window) <= evaluations:
        return False
    rising = all(after.evaluation > before.evaluation for before, after in zip(window, window[1:]))
    return rising and window[-1].training < window[0].training
