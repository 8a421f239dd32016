"""When loss or gradients have exploded, and what is only noise, a single odd batch, or a loss that falls."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from finetui.core.worker.divergence import FEWEST, STRIKES, Divergence


def exploded(losses: Iterable[float], norms: Iterable[float] | None = None, *, clip: float = 1.0) -> list[tuple[int, str]]:
    """The steps, from 1, at which something has newly exploded, and what."""
    watched, found, before = Divergence(clip), [], None
    losses = list(losses)
    for step, (loss, norm) in enumerate(zip(losses, norms or [0.5] * len(losses)), 1):
        watched.take(loss, norm)
        if watched.explosion is not None and before is None:
            found.append((step, watched.explosion.what))
        before = watched.explosion
    return found


def noisy(count: int, start: float, end: float, spread: float, seed: int = 0) -> list[float]:
    numbers = random.Random(seed)
    return [start + (end - start) * step / count + numbers.gauss(0, spread) for step in range(count)]


def test_a_learning_rate_far_too_high_shows_in_the_first_steps() -> None:
    assert exploded([3.1, 3.0, 9.0, 11.0, 10.5, 12.0]) == [(5, "loss")]
    assert exploded([3.1, 9.0, 11.0, 10.5]) == [(4, "loss")]


def test_a_loss_that_takes_off_later() -> None:
    assert exploded([*noisy(60, 3.0, 1.0, 0.1), 2.0, 3.5, 5.0, 8.0, 9.0, 8.5]) == [(65, "loss")]


def test_gradients_that_take_off_while_the_loss_does_not_yet() -> None:
    norms = [*noisy(40, 0.8, 0.5, 0.05), 30.0, 80.0, 200.0, 90.0]
    assert exploded([1.5] * 44, norms) == [(43, "gradient norm")]
    assert exploded([1.5] * 43, norms, clip=500.0) == []  # below the limit they change nothing
    assert exploded([1.5] * (FEWEST - 1), [0.01, *[20.0] * (FEWEST - 2)]) == []  # adapters begin with next to none


@pytest.mark.parametrize("seed", range(20))
def test_noise_is_no_explosion(seed: int) -> None:
    assert exploded(noisy(400, 2.5, 0.8, 0.5, seed)) == []
    small = [abs(loss) for loss in noisy(400, 0.2, 0.1, 0.2, seed)]
    assert exploded(small, [10 ** random.Random(seed + step).gauss(-0.5, 0.3) for step in range(400)]) == []


def test_a_single_odd_batch_is_none() -> None:
    assert exploded([*[1.5] * 30, 9.0, 8.0, 1.5, 9.0, 1.4, 1.5, 8.5, 9.5, 1.5]) == []


def test_what_has_exploded_stays_so_until_it_is_as_usual_again() -> None:
    losses = [*[1.5] * 30, *[6.0] * 200, 1.6, *[6.0] * 3]
    assert exploded(losses) == [(32 + 1, "loss"), (30 + 200 + 1 + STRIKES, "loss")]


def test_a_step_that_loss_scaling_skipped_changes_nothing() -> None:
    watched = Divergence(1.0)
    for _ in range(30):
        watched.take(1.5, 0.5)
    for norm in (50.0, 50.0, None, 50.0):
        watched.take(1.5, norm)
    assert watched.explosion is not None and watched.explosion.what == "gradient norm" and watched.suspected
    assert str(watched.explosion) == "the gradient norm is 50, it was usually 0.5"
