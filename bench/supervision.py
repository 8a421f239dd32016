"""What it costs that a run cannot be lost: launching, supervising, reading its figures, and showing eight of them live.

    python bench/supervision.py [--steps 40] [--seconds 15]

Prints each figure beside its bar. The share that supervision takes of training is the processor time of the supervisor, and the time
that the trainer spends on metric lines, events, progress and requests to stop, over the time of the steps; a run without any of it is
timed too, step by step in turn with the supervised one, as both see the same machine then.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
from bases import random_base
from finetui.core.embedded import dataset
from finetui.core.paths import Home
from finetui.core.runs.follow import follow
from finetui.core.runs.launch import launch
from finetui.core.runs.requests import train_request
from finetui.core.runs.store import Run, RunStore

TESTS = Path(__file__).resolve().parent.parent / "tests"
"""The toy job and the small terminal emulator of the tests serve here too."""

LIVE_RUNS, EVENTS_A_SECOND = 8, 20


def line(what: str, value: float, unit: str, bar: float) -> None:
    """One figure beside the bar that it is to stay under."""
    print(f"{what:<64}{value:>9.2f} {unit:<4}{'bar':>6}{bar:>8g}{'' if value < bar else '   MISSED'}", flush=True)


def toy(store: RunStore, name: str, **request: Any) -> Run:
    """A queued run that only counts steps."""
    return store.create("train", name, {"gpus": "none", **request}, module="support.toyjobs")


def launching(store: RunStore, rounds: int = 9) -> float:
    """Milliseconds until `launch` returns, the supervisor having taken over."""
    times = []
    for number in range(rounds):
        run = toy(store, f"launch-{number}", steps=1)
        started = time.perf_counter()
        launch(run)
        times.append(time.perf_counter() - started)
        for _ in follow(run, interval=0.05):
            pass
    return statistics.median(times) * 1e3


def reading(store: RunStore, steps: int = 50_000, rounds: int = 7) -> tuple[float, float]:
    """Milliseconds to read the metrics of so many steps for the screen, whole, and then ten more lines."""
    from finetui.core.runs.follow import Follower
    from finetui.core.runs.spec import MetricLine

    run = toy(store, "long")
    record = {
        "time": 1e9, "attempt": 1, "step": 0, "epoch": 0.1, "loss": 2.345678901234, "learning_rate": 1e-4, "grad_norm": 0.734567,
        "tokens": 0, "loss_tokens": 0, "tokens_per_second": 12345.678, "step_seconds": 0.123456,
        "data_seconds": 0.000123, "memory_bytes": 123456789,
        "peak_memory_bytes": 223456789,
    }  # fmt: skip
    path = run.dir / "metrics.jsonl"
    path.write_text("".join(json.dumps({**record, "step": step, "tokens": 512 * step}) + "\n" for step in range(1, steps + 1)))
    whole, tail = [], []
    for _ in range(rounds):
        follower = Follower(run, line=MetricLine)
        started = time.perf_counter()
        assert len(follower.poll().metrics) == steps
        whole.append(time.perf_counter() - started)
        with open(path, "a") as file:
            file.write("".join(json.dumps({**record, "step": steps + number}) + "\n" for number in range(1, 11)))
        started = time.perf_counter()
        assert len(follower.poll().metrics) == 10
        tail.append(time.perf_counter() - started)
        os.truncate(path, os.path.getsize(path) - sum(len(json.dumps({**record, "step": steps + n})) + 1 for n in range(1, 11)))
    return statistics.median(whole) * 1e3, statistics.median(tail) * 1e3


def training(home: Home, base: Path, steps: int) -> tuple[float, float]:
    """Per cent of a training's time that the trainer spends on being supervised, and that its supervisor spends on it."""
    settings = {"max_steps": steps, "per_device_train_batch_size": 4, "max_length": 256, "save_steps": steps, "logging_steps": 1}
    request = train_request(
        home, model=str(base), data=[dataset("pirate")], method="lora", settings=settings, eval_split=0.0, gpus="none", name="timed"
    )
    run = RunStore(home).create("train", "timed", request, module="supervision")
    launch(run)
    spent = 0.0
    for update in follow(run):
        process = update.state.supervisor
        if process is not None and psutil.pid_exists(process.pid):
            used = psutil.Process(process.pid).cpu_times()
            spent = max(spent, used.user + used.system)
    result = run.result()
    assert result is not None and result.state == "succeeded", run.state()
    state = run.state()
    assert state.started and state.finished
    return 100 * result.result["reporting_seconds"] / result.result["step_seconds"], 100 * spent / (state.finished - state.started)


def timed_main(job: Any) -> dict[str, Any]:
    """The training job, with a clock around all that it tells and asks its supervisor."""
    from finetui.core.runs.job import Job
    from finetui.core.worker.loop import Loop
    from finetui.core.worker.train import main

    clock = {"reporting": 0.0, "steps": 0.0}

    def around(function: Callable[..., Any], key: str) -> Callable[..., Any]:
        def call(*words: Any, **named: Any) -> Any:
            started = time.perf_counter()
            try:
                return function(*words, **named)
            finally:
                clock[key] += time.perf_counter() - started

        return call

    for name in ("metric", "event", "progress", "stop_requested", "checkpoint_requested"):
        setattr(Job, name, around(getattr(Job, name), "reporting"))
    Loop.train_step = around(Loop.train_step, "steps")
    result = main(job)
    return {**result, "reporting_seconds": clock["reporting"], "step_seconds": clock["steps"]}


def watching(home: Home, seconds: float) -> tuple[float, float]:
    """Per cent of one core that the screen takes while eight runs write, and the median milliseconds from a key to what it paints."""
    sys.path.insert(0, str(TESTS))
    from support.terminal import Terminal

    store = RunStore(home)
    runs = [toy(store, f"live-{number}", steps=100_000, pause=1 / EVENTS_A_SECOND) for number in range(LIVE_RUNS)]
    for run in runs:
        launch(run)
    try:
        with Terminal("--home", str(home.root), columns=120, rows=40) as terminal:
            terminal.until("live-0", "live-7")
            terminal.read(2)
            process = psutil.Process(terminal.process.pid)
            before, started = process.cpu_times(), time.monotonic()
            while time.monotonic() - started < seconds:
                terminal.read(0.5)
            after = process.cpu_times()
            share = (after.user + after.system - before.user - before.system) / (time.monotonic() - started)
            return 100 * share, statistics.median(_key_to_paint(terminal, key) for key in "jk" * 10) * 1e3
    finally:
        for run in runs:
            (run.dir / "control" / "stop").touch()
        for run in runs:
            for _ in follow(run):
                pass


def _key_to_paint(terminal: Any, key: str) -> float:
    """Seconds until the cursor's row has moved: the first bytes after a key, when nothing else was being painted."""
    while terminal.read(0.03):
        pass
    started = time.perf_counter()
    terminal.press(key)
    while not terminal.read(0.001):
        pass
    return time.perf_counter() - started


def main() -> None:
    """Print every figure beside its bar."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=15)
    arguments = parser.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # what is started would compile itself each time, which nobody's installation does
    os.environ["PYTHONPATH"] = os.pathsep.join([str(TESTS), str(Path(__file__).parent)])
    with tempfile.TemporaryDirectory() as scratch:
        home = Home(Path(scratch) / "home").create()
        store = RunStore(home)
        line("launch() returns", launching(store), "ms", 150)
        whole, tail = reading(store)
        line("metrics of 50,000 steps, read", whole, "ms", 60)
        line("ten more of them, read", tail, "ms", 5)
        own, supervisor = training(
            home, random_base(Path(scratch) / "base", hidden=512, layers=8, heads=8, intermediate=1408), arguments.steps
        )
        line("share of training spent on reporting, in the trainer", own, "%", 1)
        line("the same, in the supervisor (of one core)", supervisor, "%", 1)
        share, paint = watching(home, arguments.seconds)
        line(f"the screen, {LIVE_RUNS} runs at {EVENTS_A_SECOND} lines/s (of one core)", share, "%", 10)
        line("key to paint meanwhile, median", paint, "ms", 30)


if __name__ == "__main__":
    if len(sys.argv) > 1 and Path(sys.argv[1]).is_dir():  # started by the supervisor, as the job
        from finetui.core.runs.job import run_job

        run_job(timed_main)
    main()
