"""Attempts that nobody has to ask for: after the memory ran out, with a smaller batch, and after the GPU was busy."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from finetui.cli.runs import reproduction
from finetui.core.embedded import BASE_MODEL_NAME, dataset
from finetui.core.fsio import read_json, write_json
from finetui.core.runs.control import stop
from finetui.core.runs.launch import launch, resume
from finetui.core.runs.past import past_runs
from finetui.core.runs.requests import train_request
from finetui.core.runs.retry import smaller_batch
from support.runs import Toys, until, wait_for_end

KEYS = ("per_device_train_batch_size", "gradient_accumulation_steps")


@pytest.mark.parametrize(
    ("size", "steps", "smaller"), [(8, 1, (4, 2)), (2, 3, (1, 6)), (6, 1, (3, 2)), (3, 2, (1, 6)), (9, 1, (3, 3)), (1, 4, ())]
)
def test_a_smaller_batch_sees_the_same_examples_in_a_step(size: int, steps: int, smaller: tuple[int, ...]) -> None:
    options = dict(zip(KEYS, (size, steps)))
    assert tuple(smaller_batch({**options, "auto_find_batch_size": True}).values()) == smaller
    assert smaller_batch(options) == {}, "only where it is allowed"


def greedy(toys: Toys, most: int, *, allowed: bool = True) -> Any:
    """A run that is out of memory with more than ``most`` of its 8 examples at a time."""
    training = {"per_device_train_batch_size": 8, **({"auto_find_batch_size": True} if allowed else {})}
    options = {"per_device_train_batch_size": 8, "gradient_accumulation_steps": 1, "auto_find_batch_size": allowed}
    given = {"training_options": training, "options": options, "method_options": {}, "method": "lora", "model": "m", "data": ["d"]}
    return toys.start(do="greedy", most=most, steps=2, **given)


def test_out_of_memory_is_tried_once_more_with_half_the_batch(toys: Toys) -> None:
    run = greedy(toys, 4)
    state = wait_for_end(run)
    assert (state.state, state.attempt, state.error) == ("succeeded", 2, None)
    assert state.overrides == {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2}
    assert any(entry["reason"] == "attempt 2, out of memory: with 4 examples at a time, 2 times a step" for entry in state.history)
    assert run.spec.request["training_options"]["per_device_train_batch_size"] == 8, "what was asked stays"
    assert [run.summary()["options"][key] for key in KEYS] == [4, 2], "what ran is shown"
    assert [tomllib.loads(reproduction(run))["set"][key] for key in KEYS] == [4, 2]
    assert (run.dir / "result.1.json").exists()


def test_once_is_once(toys: Toys) -> None:
    state = wait_for_end(greedy(toys, 2))
    assert (state.state, state.attempt) == ("failed", 2) and state.error is not None and state.error["kind"] == "out_of_memory"


def test_not_without_being_allowed(toys: Toys) -> None:
    state = wait_for_end(greedy(toys, 4, allowed=False))
    assert (state.state, state.attempt, state.overrides) == ("failed", 1, {})


def test_the_smaller_batch_stays_when_the_run_is_resumed(toys: Toys) -> None:
    run = greedy(toys, 2)
    wait_for_end(run)
    resume(run)
    state = wait_for_end(run)
    assert (state.state, state.attempt) == ("failed", 3), "halved once, and not again"
    assert state.overrides["per_device_train_batch_size"] == 4


def test_a_busy_gpu_is_tried_again_after_a_while(toys: Toys) -> None:
    run = toys.start(do="busy", steps=1)
    until(lambda: run.state().attempt == 2)
    assert run.state().reason == "attempt 2, the GPU was in use by others" and run.state().state == "starting"
    assert wait_for_end(run).state == "succeeded"


def test_a_stop_ends_the_wait_for_another_attempt(toys: Toys) -> None:
    run = toys.start(do="busy", steps=1)
    until(lambda: run.state().attempt == 2)
    stop(run)
    state = wait_for_end(run, 4)
    assert (state.state, state.reason) == ("stopped", "stopped before it started")


def test_the_trainer_takes_the_smaller_batch_and_trains_the_same(toys: Toys) -> None:
    """A real training, once as asked and once as after running out of memory: the same examples a step, so the same losses."""
    home, losses = toys.store.home, []
    for name, overrides in (("asked", {}), ("smaller", {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 2})):
        settings = {"max_steps": 2, "per_device_train_batch_size": 8, "auto_find_batch_size": True, "lora_dropout": 0.0}
        request = train_request(
            home, model=BASE_MODEL_NAME, data=[dataset("pirate")], method="lora", settings=settings, name=name, gpus="none"
        )
        run = toys.store.create("train", name, request)
        toys.runs.append(run)
        state = run.state()
        state.overrides = dict(overrides)
        write_json(run.dir / "state.json", state)
        launch(run)
        assert wait_for_end(run, 120).state == "succeeded"
        losses.append([line["loss"] for line in run.metrics() if "loss" in line])
        manifest = read_json(home.adapters / name / "finetui.json")
        assert manifest["training_options"].get("per_device_train_batch_size", 8) == (4 if overrides else 8)
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)
    assert [past.measured_bytes > 0 for past in past_runs(home)] == [True], "the record is of what was planned"
