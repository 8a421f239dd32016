"""A job module for tests of supervision: light, and it does what its request says.

``{"delay", "steps", "pause", "filler", "prints"}``: so many seconds before the first event, so many metric lines, so far apart, so
many bytes longer, so many printed lines with each. ``"stall": [step, seconds, alive]``: it stands still at that step, until there
is a file ``go`` at the most; with ``alive`` it asks meanwhile whether it is to stop, and gives a sign of life every so many seconds.
``"do"`` adds a behaviour: ``hang`` (ignores every request), ``sleep``, ``raise``, ``bug``, ``memory``, ``eat`` (more memory than the
control group ``"group"`` has), ``unwritable`` (its result cannot be written), ``greedy`` (out of memory with more than ``"most"``
examples at a time), ``busy`` (the GPU is, in the first attempt), ``exit``, ``signal`` (kills itself by ``"number"``), ``children``
(starts a process that outlives it), ``stubborn`` (starts a process, in a session of its own and with a child in another, that ignore
every request to end).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from finetui.core import fsio
from finetui.core.errors import DataError
from finetui.core.runs import job as frame
from finetui.core.runs.job import Job, Stopped, run_job

STUBBORN = """
import os, signal, time
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, signal.SIG_IGN)
if child := os.fork():
    print(child, flush=True)
else:
    os.setsid()
time.sleep(600)
"""


def main(job: Job) -> dict[str, Any]:
    """Count steps from the last checkpoint to the end."""
    request = job.spec.request
    time.sleep(float(request.get("delay", 0)))
    while "gate" in request and not Path(request["gate"]).exists():
        time.sleep(0.01)
    _behave(job, request)
    checkpoint = job.checkpoints / "step.json"
    done = fsio.read_json(checkpoint)["step"] if checkpoint.exists() else 0
    total = int(request.get("steps", 3))
    job.event("prepared", "ready", total_steps=total, trainable_parameters=7, total_parameters=70, device="cpu")
    if done:
        job.event("resumed", f"from step {done}", step=done)
    for step in range(done + 1, total + 1):
        job.metric({"step": step, "loss": 1.0 / step, "tokens": step * 10, "filler": "x" * int(request.get("filler", 0))})
        for number in range(int(request.get("prints", 0))):
            print(f"step {step:05d} line {number:05d} {'.' * 80}", flush=True)
        if job.spec.request.get("stall", [0])[0] == step:
            _stand_still(job, *job.spec.request["stall"][1:])
        if job.stop_requested() or job.checkpoint_requested():
            fsio.write_json(checkpoint, {"step": step})
            job.event("checkpoint", f"step {step}", step=step, path=str(checkpoint))
        if job.stop_requested():
            raise Stopped({"steps": step})
        time.sleep(float(request.get("pause", 0)))
    if request.get("do") == "unwritable":
        return {"steps": object()}
    return {"steps": total, "loss": 1.0 / total, "adapter": request.get("output"), "pid": os.getpid()}


def _stand_still(job: Job, seconds: float, alive: float) -> None:
    frame.ALIVE_SECONDS = alive
    until = time.monotonic() + seconds
    while time.monotonic() < until and not (job.dir / "go").exists():
        time.sleep(0.05)
        if alive:
            job.stop_requested()


def _behave(job: Job, request: dict[str, Any]) -> None:
    match request.get("do"):
        case "hang":
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, signal.SIG_IGN)
            job.event("prepared", "hanging")
            time.sleep(600)
        case "sleep":
            job.event("prepared", "sleeping")
            time.sleep(600)
        case "raise":
            raise DataError("data.jsonl:7: no answer", "add one")
        case "bug":
            raise KeyError("a bug")
        case "memory":
            raise MemoryError
        case "greedy":
            if job.request(dict)["training_options"]["per_device_train_batch_size"] > request["most"]:
                raise MemoryError
        case "busy":
            if job.attempt == 1:
                raise RuntimeError("CUDA error: CUDA-capable device(s) is/are busy or unavailable")
        case "eat":
            Path(request["group"], "cgroup.procs").write_text(str(os.getpid()))
            eaten = []
            while True:
                eaten.append(os.urandom(1 << 20))
        case "exit":
            print("about to leave", flush=True)
            os._exit(9)
        case "signal":
            print("last words", flush=True)
            os.kill(os.getpid(), request["number"])
        case "children":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
            job.event("child", "started", pid=child.pid)
        case "stubborn":
            child = subprocess.Popen([sys.executable, "-c", STUBBORN], start_new_session=True, stdout=subprocess.PIPE)
            assert child.stdout is not None
            job.event("child", "started", pid=child.pid, child=int(child.stdout.readline()))


if __name__ == "__main__":
    run_job(main)
