"""No run is lost: whoever is killed, whenever, it reaches what an undisturbed run reaches, to the last bit."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from finetui.core.runs.launch import launch
from finetui.core.runs.queue import Queue
from finetui.core.runs.store import Run
from support import faults, sums
from support.gpus import Gpus
from support.runs import TESTS, Toys, wait_for_end

CLOCK = TESTS / "support" / "shifted_clock"


def new_run(toys: Toys, **changes: object) -> Run:
    """A queued run of `support.sums`."""
    run = toys.store.create("train", "sums", faults.request(**changes), module=sums.MODULE)
    toys.runs.append(run)
    return run


def check_undisturbed(run: Run) -> None:
    """Every step once, each with its exact loss."""
    expected = sums.losses(run.spec.request["steps"])
    assert [line["step"] for line in run.metrics()] == list(range(1, len(expected) + 1))
    assert [line["loss"] for line in run.metrics()] == expected
    result = run.result()
    assert result is not None and result.result == {"steps": len(expected), "loss": expected[-1]}
    numbers = [event.seq for event in run.events()]
    assert numbers == sorted(set(numbers))


@pytest.fixture
def life(toys: Toys) -> float:
    """Seconds that an undisturbed run takes."""
    run, began = new_run(toys), time.monotonic()
    launch(run)
    assert wait_for_end(run, 60).state == "succeeded"
    check_undisturbed(run)
    return time.monotonic() - began


def damage(run: Run, rng: random.Random) -> None:
    """Now and then more than a kill."""
    if rng.random() < 0.4:
        faults.tear(run, rng)
    if rng.random() < 0.4:
        faults.corrupt_newest(run, rng)


def report(found: faults.Faults, record: Callable[[str, object], None]) -> None:
    """Leave the figures in the test's record."""
    record("kills", found.kills)
    record("seconds", [round(value, 2) for value in sorted(found.seconds)])


def test_kills_at_random_moments(toys: Toys, life: float, record_property: Callable[[str, object], None]) -> None:
    report(faults.disturb(lambda: new_run(toys), check_undisturbed, 1, 8, life=life, damage=damage), record_property)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(2, 10))
def test_many_kills_at_random_moments(toys: Toys, life: float, seed: int, record_property: Callable[[str, object], None]) -> None:
    report(faults.disturb(lambda: new_run(toys), check_undisturbed, seed, 20, life=life, damage=damage), record_property)


def on_one_gpu(toys: Toys, queue: Queue, life: float, seed: int, kills: int) -> faults.Faults:
    """Two runs that want the same GPU, so that one of them waits; the queue's runner is killed too."""
    other = new_run(toys, gpus="0", pause=0.02)
    launch(other)
    found = faults.disturb(
        lambda: new_run(toys, gpus="0"), check_undisturbed, seed, kills, life=life + 1, roles=(*faults.ROLES, "runner"), damage=damage
    )
    faults.bring_to_an_end(other)
    check_undisturbed(other)
    assert not faults.leased(faults.FIRST_GPU)
    return found


def test_kills_leave_no_gpu_leased(toys: Toys, gpus: Gpus, queue: Queue, life: float, record_property: Callable[[str, object], None]) -> None:
    report(on_one_gpu(toys, queue, life, 1, 4), record_property)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_kills_leave_no_gpu_leased(
    toys: Toys, gpus: Gpus, queue: Queue, life: float, seed: int, record_property: Callable[[str, object], None]
) -> None:
    report(on_one_gpu(toys, queue, life, seed, 12), record_property)
