"""Data parallelism over NCCL: two processes on two GPUs, under a real supervisor. Skipped where there are fewer."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from finetui.core.runs.identity import find_tagged
from finetui.core.runs.launch import resume
from support.runs import Toys
from support.training import lines
from support.twos import ON_GPUS, compare_with_one, console, ended, start

pytestmark = pytest.mark.skipif(torch.cuda.device_count() < 2, reason=f"needs two GPUs, there are {torch.cuda.device_count()}")


def test_two_gpus_train_as_one_does(toys: Toys, base: Path, data: Path) -> None:
    compare_with_one(toys, base, data, {"gpus": "0"}, ON_GPUS, rel=1e-3)


def test_a_stopped_run_on_two_gpus_resumes(toys: Toys, base: Path, data: Path) -> None:
    options = {"eval_split": 0.25, "method_options": {"lora_dropout": 0.2}}
    whole = start(toys, base, data, ON_GPUS, name="whole", **options)
    assert ended(whole).state == "succeeded", console(whole)
    assert len(whole.state().devices) == 2
    (prepared,) = [event["data"] for event in lines(whole, "events.jsonl") if event["kind"] == "prepared"]
    assert (prepared["processes"], prepared["device"]) == (2, "cuda:0")
    halted = start(toys, base, data, ON_GPUS, name="halted", fault={"rank": 1, "step": 2, "do": "interrupt"}, **options)
    assert (ended(halted).state, halted.summary()["steps"]) == ("stopped", 3)
    resume(halted)
    assert ended(halted).state == "succeeded", console(halted)
    found = [[line["loss"] for line in run.metrics() if "loss" in line] for run in (whole, halted)]
    assert len(found[0]) == 6 and found[1] == pytest.approx(found[0], rel=1e-5)


@pytest.mark.parametrize(
    ("what", "message"), [("kill", "rank 1 was killed by SIGKILL"), ("memory", "rank 1: out of memory: CUDA out of memory.")]
)
def test_a_rank_that_fails_ends_the_run_although_the_other_waits(toys: Toys, base: Path, data: Path, what: str, message: str) -> None:
    run = start(toys, base, data, ON_GPUS, fault={"rank": 1, "step": 2, "do": what})
    state = ended(run)
    assert state.state == "failed" and state.error is not None and state.error["message"].startswith(message), console(run)
    assert find_tagged(run.id) == []
