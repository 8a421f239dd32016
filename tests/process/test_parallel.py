"""Data parallelism: two real processes on the CPU, under a real supervisor."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from finetui.core.errors import Incompatible
from finetui.core.fsio import read_json, write_json
from finetui.core.runs.adopt import refresh
from finetui.core.runs.control import stop
from finetui.core.runs.identity import find_tagged
from finetui.core.runs.job import Job
from finetui.core.runs.launch import resume
from finetui.core.runs.store import Run
from finetui.core.worker.train import main
from safetensors.torch import load_file
from support.runs import Toys, kill_supervisor, until
from support.training import lines, losses, stopped, train
from support.twos import ON_CPUS, compare_with_one, console, ended, start

TWO = ON_CPUS["training"]
DROPOUT: dict[str, Any] = {"eval_split": 0.25, "method_options": {"lora_dropout": 0.2}, "training": {"max_steps": 7, "eval_steps": 5}}


def test_two_processes_train_as_one_does(toys: Toys, base: Path, data: Path) -> None:
    """Although the second one would have started with other weights (`support.rankjobs`)."""
    compare_with_one(toys, base, data, {}, ON_CPUS, rel=1e-4)


def test_a_stopped_run_of_two_resumes_exactly(toys: Toys, base: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    whole = start(toys, base, data, ON_CPUS, name="whole", **DROPOUT)
    assert ended(whole).state == "succeeded", console(whole)
    halted = start(toys, base, data, ON_CPUS, name="halted", fault={"rank": 1, "step": 2, "do": "interrupt"}, **DROPOUT)
    state = ended(halted)
    assert (state.state, state.exit_code, halted.summary()["steps"]) == ("stopped", 0, 3)
    names = {path.name for path in (halted.dir / "checkpoints" / "step-00000003").iterdir()}
    assert names == {"trainable.safetensors", "optimizer.safetensors", "random.safetensors", "random-1.safetensors", "state.json"}
    resume(halted)
    assert ended(halted).state == "succeeded"
    keys = ("step", "loss", "grad_norm", "eval_loss", "tokens")
    before, after = ([{key: line.get(key) for key in keys} for line in run.metrics()] for run in (whole, halted))
    assert before == after and [line["step"] for line in before if line["loss"] is not None] == [1, 2, 3, 4, 5, 6, 7]
    one, two = (load_file(Path(run.summary()["adapter"]) / "adapter_model.safetensors") for run in (whole, halted))
    assert all(torch.equal(tensor, two[key]) for key, tensor in one.items())
    (prepared,) = [event["data"] for event in lines(whole, "events.jsonl") if event["kind"] == "prepared"]
    assert (prepared["processes"], prepared["total_train_batch_size"]) == (2, 4)
    assert prepared["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)


def test_an_error_of_one_rank_ends_the_run_with_it(toys: Toys, base: Path, data: Path) -> None:
    run = start(toys, base, data, ON_CPUS, fault={"rank": 1, "step": 2, "do": "memory"})
    state = ended(run)
    assert state.state == "failed" and state.error is not None
    assert state.error["kind"] == "out_of_memory"
    assert state.error["message"].startswith("rank 1: out of memory: CUDA out of memory.")
    assert "in _misbehave" in console(run) and "rank 1: error: out of memory" in console(run)


def test_a_killed_rank_ends_the_run(toys: Toys, base: Path, data: Path) -> None:
    run = start(toys, base, data, ON_CPUS, fault={"rank": 1, "step": 2, "do": "kill"})
    state = ended(run)
    assert (state.state, state.error and state.error["message"]) == ("failed", "rank 1 was killed by SIGKILL")
    assert find_tagged(run.id) == []


def endless(toys: Toys, base: Path, data: Path) -> Run:
    """A run of two that trains until it is stopped."""
    run = start(toys, base, data, ON_CPUS, training={"max_steps": 100_000, "save_minutes": 0, "save_steps": 100_000})
    until(lambda: run.metrics() and run.state().state == "running", 120, "the first step")
    return run


def test_a_killed_launcher_takes_its_ranks_along(toys: Toys, base: Path, data: Path) -> None:
    run = endless(toys, base, data)
    job = run.state().job
    assert job is not None and len(find_tagged(run.id)) >= 3
    os.kill(job.pid, signal.SIGKILL)
    state = ended(run)
    assert (state.state, state.reason.splitlines()[0].partition(";")[0]) == ("failed", "the job was killed by SIGKILL")
    assert find_tagged(run.id) == []


def test_a_run_of_two_outlives_its_supervisor_and_stops_at_once(toys: Toys, base: Path, data: Path) -> None:
    run = endless(toys, base, data)
    kill_supervisor(run)
    assert refresh(run).state == "running"
    stop(run, now=True)
    state = ended(run)
    assert state.state == "stopped"
    assert state.reason.partition(";")[0] in ("", "interrupted"), "a step may end, and with it the run, before SIGTERM comes"
    assert find_tagged(run.id) == []


def test_a_run_of_one_goes_on_as_two_with_the_same_batch_and_not_with_another(toys: Toys, base: Path, data: Path) -> None:
    whole, _ = train(base, data, name="whole", training={"max_steps": 6})
    job = stopped(base, data, 3, training={"max_steps": 6})
    run = toys.store.get(job.spec.run)
    toys.runs.append(run)
    spec, state = read_json(run.dir / "spec.json"), read_json(run.dir / "state.json")
    write_json(run.dir / "state.json", {**state, "state": "stopped"})

    def change(**options: int) -> None:
        training = {**spec["request"]["training_options"], **options}
        write_json(run.dir / "spec.json", {**spec, "request": {**spec["request"], "training_options": training}})

    change(gradient_accumulation_steps=2)
    with pytest.raises(Incompatible, match="4 examples a step, this attempt takes 8"):
        main(Job(run.dir))
    change(**TWO)
    resume(run)
    assert ended(run).state == "succeeded"
    assert [line["loss"] for line in run.metrics() if "loss" in line] == pytest.approx(losses(whole), rel=1e-4)
    assert msgspec.json.decode((run.dir / "result.json").read_bytes())["result"]["processes"] == 2
