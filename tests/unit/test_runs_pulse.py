"""When a run stands still: what is said, when it is renewed, and what counts as life."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from finetui.core import fsio
from finetui.core.runs import pulse
from finetui.core.runs.pulse import Pulse
from finetui.core.runs.spec import RunState
from finetui.core.runs.summary import trouble


class Clock:
    """The time of `pulse.time.monotonic`."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    found = Clock()
    monkeypatch.setattr(pulse.time, "monotonic", found)
    return found


def _run(folder: Path, *, pause: float = 2.0, lines: int = 8, done: int = 8, total: int = 100, **line: Any) -> Path:
    (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
    with fsio.JsonlWriter(folder / "metrics.jsonl") as metrics:
        for step in range(1, lines + 1):
            metrics.append({"time": step * pause, "attempt": 1, "step": step, "loss": 1.0, **line})
    with fsio.JsonlWriter(folder / "events.jsonl") as events:
        events.append({"seq": 1, "time": 0.0, "kind": "progress", "message": "", "data": {"done": done, "total": total, "unit": "steps"}})
    return folder


def _write(folder: Path) -> None:
    with fsio.JsonlWriter(folder / "metrics.jsonl") as metrics:
        metrics.append({"time": 99.0, "attempt": 1, "step": 99, "loss": 1.0})


def test_a_stall_is_told_renewed_and_taken_back(tmp_path: Path, clock: Clock) -> None:
    folder = _run(tmp_path)
    watched = Pulse(folder)
    said = []
    for _ in range(200):
        clock.now += 5
        reason = watched.look()
        said += [] if reason is None else [(clock.now - 1000, reason)]
    assert said == [
        (60, "no step for 60 s (usually 2 s)"), (120, "no step for 2 min (usually 2 s)"), (240, "no step for 4 min (usually 2 s)"),
        (480, "no step for 8 min (usually 2 s)"), (960, "no step for 16 min (usually 2 s)"),
    ]  # fmt: skip
    assert trouble(RunState(state="running", reason=said[-1][1]), False) == "stalled"
    _write(folder)
    clock.now += 5
    assert watched.look() == ""
    clock.now += 59
    assert watched.look() is None


def test_slow_steps_have_more_time(tmp_path: Path, clock: Clock) -> None:
    watched = Pulse(_run(tmp_path, pause=30.0))
    clock.now += 590
    assert watched.look() is None
    clock.now += 15
    assert watched.look() == "no step for 10 min (usually 30 s)"


def test_one_slow_step_does_not_change_what_is_usual(tmp_path: Path, clock: Clock) -> None:
    folder = _run(tmp_path)
    with fsio.JsonlWriter(folder / "metrics.jsonl") as metrics:
        metrics.append({"time": 5000.0, "attempt": 1, "step": 9, "loss": 1.0})
    watched = Pulse(folder)
    clock.now += 61
    assert watched.look() == "no step for 61 s (usually 2 s)"


@pytest.mark.parametrize("changes", [{"lines": 2}, {"done": 100}, {"lines": 0}], ids=["just begun", "publishing", "no metrics"])
def test_nothing_is_said_before_the_third_step_and_after_the_last(tmp_path: Path, clock: Clock, changes: dict[str, int]) -> None:
    watched = Pulse(_run(tmp_path, **changes))  # type: ignore[arg-type]
    clock.now += 5000
    assert watched.look() is None


def test_the_steps_of_an_earlier_attempt_do_not_count(tmp_path: Path, clock: Clock) -> None:
    folder = _run(tmp_path)
    _run(folder, lines=2, attempt=2)
    watched = Pulse(folder)
    clock.now += 5000
    assert watched.look() is None


def test_a_checkpoint_in_the_making_is_life(tmp_path: Path, clock: Clock) -> None:
    folder = _run(tmp_path)
    part = folder / "checkpoints" / ".step-8.staging" / "model.safetensors"
    part.parent.mkdir()
    part.write_text("half")
    watched = Pulse(folder)
    for number in range(30):
        clock.now += 10
        os.utime(part, ns=(0, 2 * 10**18 + number // 2))
        assert watched.look() is None
    clock.now += 35
    assert watched.look() is None
    clock.now += 35
    assert watched.look() == "no step for 80 s (usually 2 s)"
    os.utime(part, ns=(0, 2 * 10**18 + 99))
    clock.now += 5
    assert watched.look() == ""
