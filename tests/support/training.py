"""Training runs inside the test's own process: a run directory is made, and the job's function is called on it."""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from finetui.core.paths import find_home
from finetui.core.runs.job import Job, Stopped
from finetui.core.runs.spec import JOB_MODULES, RunKind, TrainRequest
from finetui.core.runs.store import Run, RunStore

ROWS = [
    {"instruction": "Name the capital of France.", "input": "", "output": "The capital of France is Paris."},
    {"instruction": "Give three tips for staying healthy.", "input": "", "output": "Eat well, sleep enough, and take a walk every day."},
    {"instruction": "What is the answer?", "input": "the question", "output": "It is a number, and the number is forty-two."},
    {"instruction": "Say hello.", "input": "", "output": "Hello."},
    {"instruction": "When do people take an umbrella?", "input": "", "output": "When it rains in the morning, people take an umbrella."},
    {"instruction": "Describe the fox.", "input": "one sentence", "output": "The quick brown fox jumps over the lazy dog."},
]


def write_rows(path: Path, rows: Sequence[dict[str, Any]] = ROWS, times: int = 2) -> Path:
    """Write alpaca rows, each ``times`` times, as JSON Lines."""
    path.write_text("".join(json.dumps(row) + "\n" for row in list(rows) * times))
    return path


def make_run(model: Path, data: Path, method: str = "lora", *, name: str = "result", seed: int = 0, **changes: Any) -> Run:
    """A queued training under the test's home.

    Args:
        changes: fields of `TrainRequest`; by default ten steps on the CPU, no evaluation.
    """
    home = find_home().create()
    folder = home.models if method == "full" else home.adapters
    training = {"max_steps": 10, "per_device_train_batch_size": 4, "learning_rate": 5e-3, "bf16": False, **changes.pop("training", {})}
    fields = {"eval_split": 0.0, "gpus": "none", "output": str(folder / name), "base_model_name_or_path": str(model), **changes}
    request = TrainRequest(
        model=str(model), model_path=str(model), data=[str(data)], training_options=training, method=method, name=name, seed=seed, **fields
    )
    return RunStore(home).create("train", name, request)


def make_job(model: Path, data: Path, method: str = "lora", **changes: Any) -> Job:
    """A job on a fresh run directory, to be done in this process; see `make_run`."""
    return Job(make_run(model, data, method, **changes).dir)


def train(model: Path, data: Path, method: str = "lora", **changes: Any) -> tuple[Job, dict[str, Any]]:
    """Train to the end in this process; see `make_job`."""
    from finetui.core.worker.train import main

    job = make_job(model, data, method, **changes)
    result = main(job)
    job.close()
    return job, result


def run_here(kind: RunKind, request: Any) -> dict[str, Any]:
    """Do another kind of job in this process, in the test's home."""
    job = Job(RunStore(find_home().create()).create(kind, "test", request).dir)
    result = importlib.import_module(JOB_MODULES[kind]).main(job)
    job.close()
    return json.loads(msgspec.json.encode(result))  # as `run_job` writes it down


def lines(job: Job, file: str) -> list[dict[str, Any]]:
    """The records of ``metrics.jsonl`` or ``events.jsonl``."""
    return [json.loads(line) for line in (job.dir / file).read_text().splitlines()]


def losses(job: Job) -> list[float]:
    """The training losses, step by step."""
    return [line["loss"] for line in lines(job, "metrics.jsonl") if "loss" in line]


def stop_at(job: Job, step: int) -> None:
    """Ask the job to stop as soon as it has done ``step`` steps."""
    original = job.progress

    def progress(done: int, total: int, unit: str) -> None:
        original(done, total, unit)
        if done == step:
            (job.dir / "control" / "stop").touch()

    job.progress = progress  # type: ignore[method-assign]


def stopped(base: Path, data: Path, step: int, method: str = "lora", **options: Any) -> Job:
    """A run that was stopped at ``step``, ready to be resumed: call the job's function again."""
    from finetui.core.worker.train import main

    job = make_job(base, data, method, name="stopped", **options)
    stop_at(job, step)
    with pytest.raises(Stopped) as stop:
        main(job)
    assert stop.value.result["steps"] == step
    job.close()
    (job.dir / "control" / "stop").unlink()
    return Job(job.dir)
