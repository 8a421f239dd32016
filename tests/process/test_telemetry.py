"""What a real supervisor notices while a job runs: meters of its devices, and a job that stands still."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from finetui.core import fsio
from finetui.core.runs.meters import summarise
from finetui.core.runs.store import Run
from support.cli import finetui, ok
from support.runs import TESTS, Toys, until, wait_for, wait_for_end

DOUBLE = TESTS / "support" / "nvml_double"

HASTY = """
import sys
from finetui.core.runs import meters, pulse, supervisor
pulse.LEAST_SECONDS, pulse._LOOK_SECONDS, meters.SECONDS = 0.5, 0.1, 0.1
supervisor.main()
"""
"""A supervisor that loses its patience sooner, and reads the meters more often."""


def _start_hastily(run: Run, lease: str = '{"devices": ["cpu"]}') -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    command = [sys.executable, "-c", HASTY, str(run.dir), "start", str(writing), lease]
    with open(run.dir / "console.log", "ab") as console:
        subprocess.run(command, pass_fds=[writing], start_new_session=True, stdout=console, stderr=console, check=True)
    os.close(writing)
    with open(reading, "rb") as answer:
        assert b"ready" in answer.read()


def _reasons(run: Run) -> list[str]:
    return [entry["reason"] for entry in run.state().history if entry["state"] == "running"]


def test_a_job_that_stands_still_is_noticed_and_taken_back_and_the_cpu_is_metered(toys: Toys) -> None:
    run = toys.create(steps=30, pause=0.03, stall=[15, 60.0, 0])
    _start_hastily(run)
    until(lambda: run.state().reason.startswith("no step for"), what="the stall")
    assert re.search(r"\(usually 0\.0\d+ s\)", run.state().reason)
    assert run.state().state == "running" and run.summary()["trouble"] == "stalled"
    assert "running, stalled" in finetui("runs", "list").out
    (run.dir / "go").touch()
    assert wait_for_end(run, 30).state == "succeeded"
    reasons = _reasons(run)
    assert any(reason.startswith("no step for") for reason in reasons) and reasons[-1] == ""
    assert run.summary()["trouble"] is None
    (cpu,) = summarise(run.meters())
    assert cpu["uuid"] == "cpu" and len(cpu["history"]) >= 3 and 0 < cpu["peak_memory_bytes"] <= cpu["memory_total"]
    assert ok("runs", "show", run.id)["meters"][0]["uuid"] == "cpu"
    assert "% busy, at most" in finetui("runs", "show", run.id).out


def test_a_job_that_evaluates_is_alive(toys: Toys) -> None:
    """It writes nothing for long, but asks between batches whether it is to stop."""
    run = toys.create(steps=30, pause=0.03, stall=[15, 1.5, 0.1])
    _start_hastily(run)
    assert wait_for_end(run, 30).state == "succeeded"
    assert _reasons(run) == [""]


def test_a_gpu_that_is_lost_while_a_run_uses_it(toys: Toys, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = tmp_path / "gpus.json"
    state.write_text(json.dumps({"used": {"1": 20 * 10**9}}))
    monkeypatch.setenv("DOUBLE_STATE", str(state))
    monkeypatch.setenv("PYTHONPATH", f"{DOUBLE}:{TESTS}")
    run = toys.create(steps=1000, pause=0.05)
    _start_hastily(run, '{"devices": ["GPU-00000001-double"]}')
    wait_for(run, "running")
    until(lambda: len(run.meters()) >= 2, what="readings")
    first = run.meters()[0]["devices"]
    assert [(device["id"], device["memory_bytes"], device["utilisation"], device["temperature"]) for device in first] == [
        ("1", 20 * 10**9, 10.0, 41.0)
    ]
    fsio.write_json(state, {"errors": {"1": 15}})
    until(lambda: "problem" in run.meters()[-1]["devices"][0], what="the loss")
    fsio.write_json(state, {"used": {"1": 30 * 10**9}})
    until(lambda: run.meters()[-1]["devices"][0].get("memory_bytes") == 30 * 10**9, what="its return")
    (run.dir / "control" / "stop").touch()
    assert wait_for_end(run).state == "stopped", "the meters never stop a run"
    count = len(run.meters())
    assert count == len(run.meters()) and summarise(run.meters())[0]["peak_memory_bytes"] == 30 * 10**9
