"""When training and evaluation loss have parted."""

from __future__ import annotations

import pytest
from finetui.core.worker.overfitting import Reading, parted


def readings(training: list[float], evaluation: list[float]) -> list[Reading]:
    return [Reading(step, *losses) for step, losses in enumerate(zip(training, evaluation))]


@pytest.mark.parametrize(
    ("training", "evaluation", "expected"),
    [
        ([3.0, 2.0, 1.0, 0.5], [2.0, 2.1, 2.2, 2.3], True),
        ([3.0, 2.0, 1.0, 0.5], [2.0, 2.1, 2.2, 2.2], False),  # one evaluation did not rise
        ([1.0, 2.0, 3.0, 4.0], [2.0, 2.1, 2.2, 2.3], False),  # training goes wrong altogether
        ([2.0, 1.0, 0.5], [2.1, 2.2, 2.3], False),  # too few
        ([9.0, 3.0, 2.0, 1.0, 0.5], [3.0, 2.0, 2.1, 2.2, 2.3], True),  # only the last count
    ],
)
def test_the_losses_have_parted(training: list[float], evaluation: list[float], expected: bool) -> None:
    assert parted(readings(training, evaluation), 3) is expected


def test_nothing_is_watched_with_no_patience() -> None:
    assert not parted(readings([2.0, 1.0], [1.0, 2.0]), 0)
