"""What the planner learns from past runs: its record, the overhead, the speed of methods; and how fast that is read."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from finetui.core import fsio
from finetui.core.paths import Home
from finetui.core.planner.advice import make_plan
from finetui.core.planner.ranking import rank_methods
from finetui.core.planner.record import Past, Record, record_of
from finetui.core.runs import past as past_module
from finetui.core.runs.past import past_runs
from finetui.core.runs.spec import Result, RunState, TrainRequest
from finetui.core.runs.store import RunStore
from support.cli import finetui, ok
from support.models import tiny_model

MB = 10**6


def past(measured: int, **known: Any) -> Past:
    plain = {"kind": "cpu", "model_path": "/m", "method": "lora", "planned_bytes": 200 * MB, "tensor_bytes": 100 * MB}
    return Past(**{**plain, "overhead_bytes": 100 * MB, **known}, measured_bytes=measured * MB)


def test_the_record_of_a_kind_of_device() -> None:
    runs = [past(100), past(200), past(160), past(800, kind="cuda")]
    assert record_of(runs, "cpu") == Record(runs=3, median_ratio=1.25, worst_ratio=2.0)
    assert record_of(runs, "cuda").worst_ratio == 0.25
    assert record_of([], "cpu") == Record()


def test_overhead_is_learned_from_five_runs_robustly_and_within_bounds() -> None:
    assert record_of([past(180)] * 4, "cpu").overhead_factor == 1
    learned = record_of([past(170), past(180), past(180), past(190), past(5000)], "cpu")  # one odd run does not move it
    assert (learned.overhead_runs, learned.overhead_factor) == (5, 0.8)
    assert record_of([past(5000)] * 5, "cpu").overhead_factor == 2
    assert record_of([past(50)] * 5, "cpu").overhead_factor == 0.5
    assert record_of([past(180, overhead_bytes=0)] * 9, "cpu").overhead_runs == 0  # of runs before it was written down


def test_plans_use_what_was_learned(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "base", "qwen2")
    runs = [past(150, kind="cuda")] * 5
    before, after = (make_plan(model, "lora", {}, {}, memory_bytes=10**9, past=known) for known in ((), runs))
    assert after.parts["overhead"] == before.parts["overhead"] // 2 and after.record.overhead_runs == 5
    assert after.total_bytes == sum(after.parts.values()) == before.total_bytes - before.parts["overhead"] // 2


def test_measured_speeds_replace_counted_ones(tmp_path: Path) -> None:
    model = tiny_model(tmp_path / "base", "qwen2")
    runs = [
        past(1, kind="cuda", model_path=str(model), method=method, tokens_per_second=speed)
        for method, speed in (("full", 100.0), ("lora", 300.0))
    ]
    counted = {row.method: row for row in rank_methods(model, {}, memory_bytes=10**10)}
    rows = {row.method: row for row in rank_methods(model, {}, memory_bytes=10**10, past=runs)}
    assert rows["lora"].speed_from == "runs" and rows["ia3"].speed_from == "flops"
    assert rows["lora"].relative_speed / rows["full"].relative_speed == pytest.approx(3, rel=0.02)
    assert rows["full"].tokens_per_second == pytest.approx(100, rel=0.02)
    assert rows["ia3"].relative_speed == counted["ia3"].relative_speed and counted["ia3"].tokens_per_second is None


def finished(home: Home, state: str = "succeeded") -> None:
    """A run of this home as it is left behind."""
    request = TrainRequest(
        model="m", model_path="/m", base_model_name_or_path="/m", data=["/d"], method="lora", name="n", output="/o",
        planned_memory_bytes=200 * MB, planned_tensor_bytes=100 * MB, planned_overhead_bytes=100 * MB,
    )  # fmt: skip
    run = RunStore(home).create("train", "n", request)
    fsio.write_json(run.dir / "state.json", RunState(state=state, devices=["cpu"]))  # type: ignore[arg-type]
    result = {"peak_memory_bytes": 180 * MB, "tokens_per_second": 50.0}
    fsio.write_json(run.dir / "result.json", Result(state="succeeded", attempt=1, finished=1.0, result=result))


def test_past_runs_are_read_from_the_home_and_shown_by_plan(tmp_path: Path) -> None:
    home, model = Home(tmp_path / "home"), tiny_model(tmp_path / "base", "qwen2")
    for _ in range(5):
        finished(home)
    finished(home, "running")
    assert past_runs(home) == [past(180, tokens_per_second=50.0)] * 5
    asked = ("--home", home.root, "plan", "--model", model, "--method", "lora", "--gpus", "none")
    plan = ok(*asked)
    assert {"runs": 5, "median_ratio": 1.111, "worst_ratio": 1.111}.items() <= plan["record"].items()
    assert "overhead learned from 5 runs" in finetui(*asked).err


def test_reading_past_runs_is_fast_and_happens_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = Home(tmp_path / "home")
    for _ in range(60):
        finished(home)
    assert len(past_runs(home)) == 50
    monkeypatch.setattr(past_module.records, "read_spec", lambda folder: pytest.fail("read again"))
    started = time.process_time()
    assert len(past_runs(home)) == 50 and time.process_time() - started < 0.01


def test_damaged_runs_are_left_out(tmp_path: Path) -> None:
    home = Home(tmp_path / "home")
    finished(home)
    (next(home.runs.iterdir()) / "spec.json").write_text("{")
    assert past_runs(home) == []
    assert past_runs(Home(tmp_path / "nothing")) == []
    assert msgspec.to_builtins(Record())["runs"] == 0
