"""No run is lost: whoever is killed, whenever, it reaches what an undisturbed run reaches, to the last bit."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from finetui.core.errors import DiskError, Refused
from finetui.core.runs.adopt import refresh
from finetui.core.runs.control import stop
from finetui.core.runs.identity import is_alive, signal_process
from finetui.core.runs.identity import wait_for_end as wait_for_end_of
from finetui.core.runs.launch import launch, resume
from finetui.core.runs.queue import Queue
from finetui.core.runs.spec import ACTIVE
from finetui.core.runs.store import Run
from support import faults, sums
from support.disks import check_files, fill
from support.gpus import Gpus
from support.runs import TESTS, Toys, until, wait_for, wait_for_end

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


@pytest.fixture
def clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: Toys) -> Callable[[float], object]:
    """``clock(seconds)`` sets the wall clock of all that is started from here, and of what runs already."""
    file = tmp_path / "clock"
    file.write_text("0")
    monkeypatch.setenv("SHIFTED_CLOCK", str(file))
    monkeypatch.setenv("PYTHONPATH", f"{CLOCK}{os.pathsep}{os.environ['PYTHONPATH']}")

    def shift(seconds: float) -> None:
        staged = file.with_suffix(".new")
        staged.write_text(str(seconds))
        staged.replace(file)

    return shift


def test_kills_at_random_moments(toys: Toys, life: float, record_property: Callable[[str, object], None]) -> None:
    faults.disturb(lambda: new_run(toys), check_undisturbed, 1, 8, life=life, damage=damage).report(record_property)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(2, 10))
def test_many_kills_at_random_moments(toys: Toys, life: float, seed: int, record_property: Callable[[str, object], None]) -> None:
    faults.disturb(lambda: new_run(toys), check_undisturbed, seed, 20, life=life, damage=damage).report(record_property)


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


def test_kills_leave_no_gpu_leased(
    toys: Toys, gpus: Gpus, queue: Queue, life: float, record_property: Callable[[str, object], None]
) -> None:
    on_one_gpu(toys, queue, life, 1, 3).report(record_property)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(2, 6))
def test_many_kills_leave_no_gpu_leased(
    toys: Toys, gpus: Gpus, queue: Queue, life: float, seed: int, record_property: Callable[[str, object], None]
) -> None:
    on_one_gpu(toys, queue, life, seed, 12).report(record_property)


def launch_at_once(toys: Toys, seed: int) -> None:
    """One of three launchers wins, whichever is killed; the run is started once."""
    run, rng = new_run(toys), random.Random(seed)
    codes = faults.several_launchers(run, rng)
    assert codes.count(0) <= 1 and set(codes) <= {0, Refused.exit_code, -signal.SIGKILL}, codes
    faults.seconds_until_right(run)
    faults.bring_to_an_end(run)
    check_undisturbed(run)
    assert run.state().attempt == 1 and [event.kind for event in run.events()].count("prepared") == 1


def test_of_launchers_at_once_one_wins_whoever_is_killed(toys: Toys) -> None:
    launch_at_once(toys, 1)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(2, 17))
def test_of_many_launchers_at_once_one_wins(toys: Toys, seed: int) -> None:
    launch_at_once(toys, seed)


def end_screens(toys: Toys, seed: int, count: int) -> None:
    """The run does not notice: it is the same attempt from its beginning to its end."""
    run, rng = new_run(toys, steps=4000, pause=0.02), random.Random(seed)
    launch(run)
    trainer = wait_for(run, "running", seconds=60).job
    for _ in range(count):
        faults.end_screen(run, rng, 3.0)
        assert is_alive(trainer)
    stop(run)
    assert wait_for_end(run, 60).state == "stopped"
    steps = [line["step"] for line in run.metrics()]
    assert run.state().attempt == 1 and [line["loss"] for line in run.metrics()] == sums.losses(len(steps))


def test_screens_are_killed_and_hung_up_on(toys: Toys) -> None:
    end_screens(toys, 1, 2)


@pytest.mark.matrix
@pytest.mark.timeout(600)
def test_many_screens_are_killed_and_hung_up_on(toys: Toys) -> None:
    end_screens(toys, 2, 15)


def fill_the_disk(toys: Toys, seed: int, life: float) -> None:
    """At a random moment, which finds metrics, events, states or checkpoints being written; then there is space again."""
    run, rng = new_run(toys, filler=3000), random.Random(seed)
    launcher = faults.in_fork(launch, run)
    time.sleep(rng.uniform(0, life))
    filler = fill(toys.store.home.root)
    exit_code = faults.exit_code(launcher)
    assert exit_code in (0, DiskError.exit_code)
    until(lambda: refresh(run).state not in ACTIVE - {"queued"}, 60, "the end on a full disk")
    filler.unlink()
    faults.seconds_until_right(run)
    state = run.state()
    assert state.state in ("succeeded", "failed", "lost") or exit_code, state
    assert state.state != "failed" or state.error is not None and state.error["kind"] == "disk", state
    check_files(run)
    faults.bring_to_an_end(run)
    check_undisturbed(run)
    check_files(run)


@pytest.mark.parametrize("seed", range(3))
def test_the_disk_fills_up_at_a_random_moment(small_toys: Toys, seed: int) -> None:
    fill_the_disk(small_toys, seed, 1.0)


@pytest.mark.matrix
@pytest.mark.parametrize("seed", range(3, 20))
def test_the_disk_fills_up_at_many_random_moments(small_toys: Toys, seed: int) -> None:
    fill_the_disk(small_toys, seed, 1.0)


@pytest.mark.parametrize("days", [-2, 2])
def test_a_clock_that_is_set_changes_nothing(toys: Toys, clock: Callable[[float], object], tmp_path: Path, days: int) -> None:
    """Whether this attempt's job has spoken does not depend on when it seems to have done so."""
    gate = tmp_path / "gate"
    run = toys.start(steps=10_000, pause=0.02, gate=str(gate))
    clock(86_400 * days)
    gate.touch()
    assert wait_for(run, "running", seconds=60).attempt == 1
    clock(0)
    gate.unlink()
    stop(run)
    assert wait_for_end(run, 60).state == "stopped"
    resume(run)
    clock(-86_400 * days)
    until(lambda: run.state().job, 60, "the job")
    time.sleep(0.5)
    assert run.state().state == "starting"
    (supervisor,) = faults.supervisors(run)
    signal_process(supervisor, signal.SIGKILL)
    wait_for_end_of(supervisor, 5)
    assert refresh(run).state == "starting"
    gate.touch()
    wait_for(run, "running", seconds=60)
    stop(run)
    assert wait_for_end(run, 60).state == "stopped"


def kill_under_a_jumping_clock(toys: Toys, clock: Callable[[float], object], life: float, seed: int, kills: int) -> faults.Faults:
    """Every run and every attempt begins at another time."""

    def jump(_run: Run, rng: random.Random) -> None:
        clock(rng.uniform(-1e6, 1e6))

    return faults.disturb(lambda: new_run(toys), check_undisturbed, seed, kills, life=life, damage=jump)


def test_kills_while_the_clock_jumps(toys: Toys, clock: Callable[[float], object], life: float) -> None:
    assert kill_under_a_jumping_clock(toys, clock, life, 1, 3).attempts > 1


@pytest.mark.matrix
def test_many_kills_while_the_clock_jumps(toys: Toys, clock: Callable[[float], object], life: float) -> None:
    assert kill_under_a_jumping_clock(toys, clock, life, 2, 15).attempts > 1
