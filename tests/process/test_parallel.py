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
from finetui.core.runs.launch import launch, resume
from finetui.core.runs.store import Run
from finetui.core.worker.train import main
from safetensors.torch import load_file
from support.models import tiny_model
from support.runs import Toys, until, wait_for_end
from support.training import lines, losses, make_job, stopped, train, write_rows

MODULE = "support.rankjobs"
TWO = {"num_processes": 2, "per_device_train_batch_size": 2}
DROPOUT: dict[str, Any] = {
    "eval_split": 0.25,
    "method_options": {"lora_dropout": 0.2},
    "training": {"max_steps": 7, "eval_steps": 5, **TWO},
}


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "base", "qwen2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "rows.jsonl")


def start(toys: Toys, base: Path, data: Path, method: str = "lora", *, fault: dict[str, Any] | None = None, **changes: Any) -> Run:
    """A launched training of two processes."""
    request = make_job(base, data, method, **{"training": {"max_steps": 6, **TWO}, **changes}).spec.request
    run = toys.store.create("train", "two", request | ({"fault": fault} if fault else {}), module=MODULE)
    toys.runs.append(run)
    launch(run)
    return run


def ended(run: Run) -> Any:
    return wait_for_end(run, 120)


CASES: list[tuple[str, str, dict[str, Any]]] = [
    ("lora", "lora", {}),
    ("padded", "lora", {"packing": False}),
    ("accumulated", "lora", {"gradient_accumulation_steps": 2}),
    ("pissa", "lora", {"init_lora_weights": "pissa_niter_16"}),
    ("full", "full", {}),
    ("gradual_unfreezing", "gradual_unfreezing", {"steps_per_stage": 2}),
    ("adapter", "adapter", {}),
    ("bitfit", "bitfit", {}),
    ("adalora", "adalora", {"init_r": 4, "target_r": 2}),
]
"""Name, method, settings of loop and method. Nine rows in batches of four: the last step of an epoch has one row, and one process none."""

OWN = {"init_lora_weights", "steps_per_stage", "init_r", "target_r"}


def case(base: Path, data: Path, name: str, method: str, settings: dict[str, Any], **training: Any) -> dict[str, Any]:
    """Arguments of `make_job` for a case."""
    loop = {key: value for key, value in settings.items() if key not in OWN}
    return {
        "model": base, "data": data, "method": method, "name": name, "eval_split": 0.25,
        "method_options": {key: value for key, value in settings.items() if key in OWN},
        "training": {"max_steps": 4, "learning_rate": 1e-3, **loop, **training},
    }  # fmt: skip


def test_two_processes_train_as_one_does(toys: Toys, base: Path, data: Path) -> None:
    """Two devices with half the batch each: the same losses, evaluations and weights, up to rounding, although the second one
    would have started with others (`support.rankjobs`)."""
    jobs = [make_job(**case(base, data, f"two {name}", method, settings, **TWO)) for name, method, settings in CASES]
    run = toys.store.create(
        "train", "cases", {"cases": [str(job.dir) for job in jobs], "training_options": TWO, "gpus": "none"}, module=MODULE
    )
    toys.runs.append(run)
    launch(run)
    alone = [train(**case(base, data, f"one {name}", method, settings)) for name, method, settings in CASES]
    assert ended(run).state == "succeeded", (run.dir / "console.log").read_text()[-2000:]
    for (name, *_), two, (one, result) in zip(CASES, jobs, alone, strict=True):
        assert losses(two) == pytest.approx(losses(one), rel=1e-4), name
        for key in ("eval_loss", "tokens", "loss_tokens", "learning_rate", "rank_total", "stage"):
            values = [[line[key] for line in lines(job, "metrics.jsonl") if key in line] for job in (one, two)]
            assert values[1] == pytest.approx(values[0], rel=1e-4), (name, key)
        weights = [load_file(next(Path(job.spec.request["output"]).glob("*.safetensors"))) for job in (one, two)]
        assert result["steps"] == len(losses(two)) == 4
        for key, tensor in weights[0].items():
            assert torch.allclose(weights[1][key], tensor, rtol=0.05, atol=2e-3), (name, key)


def test_a_stopped_run_of_two_resumes_exactly(toys: Toys, base: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OMP_NUM_THREADS")
    whole = start(toys, base, data, name="whole", **DROPOUT)
    assert ended(whole).state == "succeeded", (whole.dir / "console.log").read_text()[-2000:]
    halted = start(toys, base, data, name="halted", fault={"rank": 1, "step": 2, "do": "interrupt"}, **DROPOUT)
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
    (prepared,) = [event["data"] for event in lines(whole, "events.jsonl") if event["kind"] == "prepared"]  # type: ignore[arg-type]
    assert (prepared["processes"], prepared["total_train_batch_size"]) == (2, 4)
    assert prepared["threads"] == max(1, len(os.sched_getaffinity(0)) // 2)


def test_an_error_of_one_rank_ends_the_run_with_it(toys: Toys, base: Path, data: Path) -> None:
    run = start(toys, base, data, fault={"rank": 1, "step": 2, "do": "memory"})
    state = ended(run)
    assert state.state == "failed" and state.error is not None
    assert state.error["kind"] == "out_of_memory"
    assert state.error["message"].startswith("rank 1: out of memory: CUDA out of memory.")
    console = (run.dir / "console.log").read_text()
    assert "in _misbehave" in console and "rank 1: error: out of memory" in console


def test_a_killed_rank_ends_the_run(toys: Toys, base: Path, data: Path) -> None:
    run = start(toys, base, data, fault={"rank": 1, "step": 2, "do": "kill"})
    state = ended(run)
    assert (state.state, state.error and state.error["message"]) == ("failed", "rank 1 was killed by SIGKILL")
    assert find_tagged(run.id) == []


def endless(toys: Toys, base: Path, data: Path) -> Run:
    """A run of two that trains until it is stopped."""
    run = start(toys, base, data, training={"max_steps": 100_000, "save_minutes": 0, "save_steps": 100_000, **TWO})
    until(lambda: run.metrics(), 120, "the first step")
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
    supervisor = run.state().supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    until(lambda: supervisor.pid not in [process.pid for process in find_tagged(run.id)], what="its end")
    assert refresh(run).state == "running"
    stop(run, now=True)
    state = ended(run)
    assert (state.state, state.reason.partition(";")[0]) == ("stopped", "interrupted")
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
