"""A real training that is killed at random moments gives the same losses and the same weights, to the last bit (float32, CPU)."""

from __future__ import annotations

import itertools
import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from finetui.core.catalog.digest import sha256_file
from finetui.core.runs.launch import launch
from finetui.core.runs.store import Run
from support import faults
from support.models import tiny_model
from support.runs import Toys, wait_for_end
from support.training import make_run, write_rows

OPTIONS: dict[str, Any] = {
    "eval_split": 0.25, "method_options": {"lora_dropout": 0.2},
    "training": {"max_steps": 12, "save_steps": 2, "eval_steps": 6, "per_device_train_batch_size": 2},
}  # fmt: skip


class Training:
    """Trainings that are all the same, and what the first of them gave, which nobody disturbed."""

    def __init__(self, folder: Path, toys: Toys, options: dict[str, Any]) -> None:
        self._options = options
        self._base, self._data = tiny_model(folder / "base", "qwen2"), write_rows(folder / "rows.jsonl")
        self._toys, self._numbers = toys, itertools.count()
        run, began = self.new(), time.monotonic()
        launch(run)
        assert wait_for_end(run, 280).state == "succeeded"
        self.life = time.monotonic() - began
        self._expected = self._figures(run)

    def new(self) -> Run:
        """A queued run."""
        run = make_run(self._base, self._data, name=f"r{next(self._numbers)}", **self._options)
        self._toys.runs.append(run)
        return run

    def check(self, run: Run) -> None:
        """It gave what the undisturbed one gave."""
        assert self._figures(run) == self._expected

    @staticmethod
    def _figures(run: Run) -> dict[str, Any]:
        result = run.result()
        assert result is not None
        kept = ("loss", "eval", "steps", "tokens")
        return {
            "lines": [
                {name: line.get(name) for name in ("step", "loss", "grad_norm", "learning_rate", "tokens", "eval_loss")}
                for line in run.metrics()
            ],
            "result": {name: result.result[name] for name in kept},
            "weights": sha256_file(Path(result.result["adapter"]) / "adapter_model.safetensors"),
        }


@pytest.fixture
def training(tmp_path: Path, toys: Toys) -> Training:
    return Training(tmp_path, toys, OPTIONS)


@pytest.fixture
def parallel(tmp_path: Path, toys: Toys) -> Training:
    """In two processes on the CPU."""
    return Training(tmp_path, toys, {**OPTIONS, "training": {**OPTIONS["training"], "num_processes": 2}})


def damage(run: Run, rng: random.Random) -> None:
    """Half a line in a log, and the newest checkpoint spoilt: the one before takes its place."""
    faults.tear(run, rng)
    if rng.random() < 0.5:
        faults.corrupt_newest(run, rng)


ROLES = ("trainer", "trainer", "supervisor", "everyone")
PARALLEL_ROLES = ("rank 0", "rank 1", "rank 1", "trainer", "supervisor", "everyone")
"""The trainer is here the launcher of the ranks, which they die with."""


def kill(training: Training, seed: int, kills: int, roles: tuple[str, ...] = ROLES) -> faults.Faults:
    return faults.disturb(training.new, training.check, seed, kills, life=training.life, roles=roles, damage=damage, patience=280)


@pytest.mark.timeout(900)
def test_a_training_that_is_killed_gives_the_same(training: Training, record_property: Callable[[str, object], None]) -> None:
    kill(training, 1, 2).report(record_property)


@pytest.mark.matrix
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 6))
def test_a_training_that_is_killed_often_gives_the_same(
    training: Training, seed: int, record_property: Callable[[str, object], None]
) -> None:
    kill(training, seed, 10).report(record_property)


@pytest.mark.timeout(900)
def test_a_training_of_two_processes_that_loses_a_rank_gives_the_same(
    parallel: Training, record_property: Callable[[str, object], None]
) -> None:
    kill(parallel, 1, 1, ("rank 1",)).report(record_property)


@pytest.mark.matrix
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(2, 5))
def test_a_training_of_two_processes_that_is_killed_often_gives_the_same(
    parallel: Training, seed: int, record_property: Callable[[str, object], None]
) -> None:
    kill(parallel, seed, 8, PARALLEL_ROLES).report(record_property)
