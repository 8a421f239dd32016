"""``finetui plan --probe``: the longest micro-batch trained for real, and what is said where that cannot be done."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.core.errors import DoesNotFit, FineTUIError, OutOfMemory, WorkFailed
from finetui.core.planner.advice import make_plan
from finetui.core.probing import probe_plan
from finetui.core.session import WorkerSession
from finetui.core.training import TrainingOptions
from finetui.core.worker import probe as probing
from support.cli import ok, refused
from support.models import tiny_model
from support.training import write_rows


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("probe") / "base", "qwen2", chat_template=True)


def asked(base: Path, *more: object) -> tuple[object, ...]:
    return "--home", base.parent / "home", "plan", "--model", base, "--gpus", "none", *more


def test_the_longest_batch_is_trained_beside_the_plan(base: Path, tmp_path: Path) -> None:
    rows = write_rows(tmp_path / "rows.jsonl")
    plan = ok(*asked(base, "--method", "lora", "--data", rows, "--probe", "--set", "per_device_train_batch_size=2"))
    probe = plan["probe"]
    assert probe["device"] == "cpu" and probe["seconds"] > 0
    assert probe["live_bytes"] >= sum(plan["parts"][name] for name in ("weights", "adapter", "optimizer"))
    assert probe["peak_memory_bytes"] > 0 and probe["tokens"] <= 2 * TrainingOptions().max_length


def test_what_cannot_fit_is_refused_before_weights_are_loaded(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probing, "free_bytes", lambda device: 1_000_000)
    monkeypatch.setattr(probing, "load_base", lambda *arguments, **named: pytest.fail("weights were loaded"))
    with pytest.raises(DoesNotFit, match=r"1\.0 MB are free") as caught:
        probing.probe_folder(
            model_path=str(base), method="lora", method_options={}, training_options={"per_device_train_batch_size": 8}, task="causal-lm",
            num_labels=2, lengths=[100] * 8, loss_lengths=[50] * 8,
        )  # fmt: skip
    assert "needs" in caught.value.hint or "nothing here fits" in caught.value.hint


def test_without_weights_or_method_there_is_nothing_to_try(base: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((base / "config.json").read_text())
    refused("--home", base.parent / "home", "plan", "--model", tmp_path, "--method", "lora", "--probe", code=3, says="has no weights")
    refused(*asked(base, "--probe"), code=2, says="--probe tries one method")


@pytest.mark.parametrize(
    ("problem", "raised"),
    [
        (OutOfMemory("out of memory: tried to allocate 2 GiB"), DoesNotFit),
        (WorkFailed("the worker was killed by SIGKILL\nlast line"), DoesNotFit),
        (WorkFailed("the worker ended with exit code 3"), WorkFailed),
    ],
)
def test_running_out_of_memory_says_so(base: Path, problem: FineTUIError, raised: type, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(self: WorkerSession, op: str, **arguments: Any) -> dict[str, Any]:
        assert op == "probe" and arguments["lengths"] == [30, 20] and json.dumps(arguments)
        raise problem

    monkeypatch.setattr(WorkerSession, "call", fail)
    plan = make_plan(base, "lora", {}, {}, memory_bytes=10**9)
    with pytest.raises(raised) as caught:
        probe_plan(
            plan, base, {}, {"per_device_train_batch_size": 2}, log=None, gpus="none", lengths=[10, 30, 20], loss_lengths=[1, 3, 2]
        )  # fmt: skip
    assert problem.message.splitlines()[0] in caught.value.message
    if raised is DoesNotFit:
        assert caught.value.hint and "2 examples of up to 30 tokens" in caught.value.message
