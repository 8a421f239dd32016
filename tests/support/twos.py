"""Trainings of two processes under a real supervisor, on the CPU or on two GPUs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.runs.launch import launch
from finetui.core.runs.spec import RunState
from finetui.core.runs.store import Run
from safetensors.torch import load_file

from .runs import Toys, wait_for_end
from .training import lines, losses, make_job, train

MODULE = "support.rankjobs"
ON_CPUS: dict[str, Any] = {"training": {"num_processes": 2, "per_device_train_batch_size": 2}}
ON_GPUS: dict[str, Any] = {"gpus": "0,1", "training": {"per_device_train_batch_size": 2}}
"""Arguments of `make_job` that make two processes, with half the micro-batch of one."""

CASES: list[tuple[str, str, dict[str, Any], dict[str, Any]]] = [
    ("lora", "lora", {}, {}),
    ("padded", "lora", {}, {"packing": False}),
    ("accumulated", "lora", {}, {"gradient_accumulation_steps": 2}),
    ("pissa", "lora", {"init_lora_weights": "pissa_niter_16"}, {}),
    ("full", "full", {}, {}),
    ("gradual_unfreezing", "gradual_unfreezing", {"steps_per_stage": 2}, {}),
    ("adapter", "adapter", {}, {}),
    ("bitfit", "bitfit", {}, {}),
    ("adalora", "adalora", {"init_r": 4, "target_r": 2}, {}),
]
"""Name, method, its options, the loop's. Nine rows in batches of four: the last step of an epoch has one row, and one process none."""


def start(
    toys: Toys, base: Path, data: Path, place: dict[str, Any], *, fault: dict[str, Any] | None = None, training: Any = None, **changes: Any
) -> Run:
    """A launched LoRA training of two processes (six steps) in ``place`` (`ON_CPUS` or `ON_GPUS`)."""
    own = {**place, "training": {"max_steps": 6, **place["training"], **(training or {})}}
    request = make_job(base, data, **own, **changes).spec.request
    run = toys.store.create("train", "two", request | ({"fault": fault} if fault else {}), module=MODULE)
    toys.runs.append(run)
    launch(run)
    return run


def ended(run: Run) -> RunState:
    """Wait for the end of a run; several processes that import torch take their time."""
    return wait_for_end(run, 180)


def console(run: Run) -> str:
    """The end of what the processes of a run printed."""
    return (run.dir / "console.log").read_text()[-3000:]


def compare_with_one(toys: Toys, base: Path, data: Path, one: dict[str, Any], two: dict[str, Any], rel: float) -> None:
    """Train every case alone and in two processes with half the micro-batch: the same losses, figures and weights, up to rounding.

    Args:
        one: arguments of `make_job` for the training alone; ``two`` (`ON_CPUS`, `ON_GPUS`) those of the other.
        rel: relative tolerance of losses and figures.
    """
    jobs = [make_job(**_case(base, data, f"two {name}", row, two)) for name, *row in CASES]
    request = {"cases": [str(job.dir) for job in jobs], "training_options": two["training"], "gpus": two.get("gpus", "none")}
    run = toys.store.create("train", "cases", request, module=MODULE)
    toys.runs.append(run)
    launch(run)
    alone = [train(**_case(base, data, f"one {name}", row, one)) for name, *row in CASES]
    assert ended(run).state == "succeeded", console(run)
    for (name, *_), job, (single, result) in zip(CASES, jobs, alone, strict=True):
        assert result["steps"] == len(losses(job)) == 4
        assert losses(job) == pytest.approx(losses(single), rel=rel), name
        for key in ("eval_loss", "tokens", "loss_tokens", "learning_rate", "rank_total", "stage"):
            values = [[line[key] for line in lines(each, "metrics.jsonl") if key in line] for each in (single, job)]
            assert values[1] == pytest.approx(values[0], rel=rel), (name, key)
        weights = [load_file(next(Path(each.spec.request["output"]).glob("*.safetensors"))) for each in (single, job)]
        for key, tensor in weights[0].items():
            assert torch.allclose(weights[1][key], tensor, rtol=0.05, atol=2e-3), (name, key)


def _case(base: Path, data: Path, name: str, row: list[Any], place: dict[str, Any]) -> dict[str, Any]:
    method, own, loop = row
    training = {"max_steps": 4, "learning_rate": 1e-3, **loop, **place.get("training", {})}
    common = {"model": base, "data": data, "method": method, "name": name, "eval_split": 0.25, "method_options": own}
    return {**common, **place, "training": training}
