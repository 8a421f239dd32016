"""A job whose result says whether anything was lost or done twice: arithmetic in float32, step by step, with checkpoints.

``{"steps", "pause", "filler"}``: so many steps, so far apart, metric lines so many bytes longer.
"""

from __future__ import annotations

import math
import shutil
import struct
import time
import zlib
from pathlib import Path
from typing import Any

from finetui.core import fsio
from finetui.core.errors import CorruptFile
from finetui.core.runs.job import Job, Stopped, run_job

MODULE = "support.sums"
EVERY, KEPT = 5, 2
"""Steps between two checkpoints, and how many are kept."""


def advance(value: float, step: int) -> float:
    """One step, rounded to float32."""
    return struct.unpack("f", struct.pack("f", math.fmod(1.7 * value + math.sin(step), 3.0)))[0]


def losses(steps: int) -> list[float]:
    """What an undisturbed run reports."""
    values = [0.5]
    for step in range(1, steps + 1):
        values.append(advance(values[-1], step))
    return values[1:]


def checkpoints(job_folder: Path) -> list[Path]:
    """Folders of a run's checkpoints, oldest first."""
    return sorted((job_folder / "checkpoints").glob("step-*"))


def main(job: Job) -> dict[str, Any]:
    """Go on from the newest sound checkpoint to the end."""
    request = job.spec.request
    total = int(request["steps"])
    for left in job.checkpoints.glob(".step-*"):
        shutil.rmtree(left)
    first, value = _newest(job)
    job.event("prepared", "ready", total_steps=total)
    for step in range(first + 1, total + 1):
        value = advance(value, step)
        job.metric({"step": step, "loss": value, "filler": "x" * int(request.get("filler", 0))})
        stop = job.stop_requested() and step < total
        if step % EVERY == 0 or stop:
            _save(job, step, value)
        if stop:
            raise Stopped({"steps": step})
        time.sleep(float(request["pause"]))
    return {"steps": total, "loss": value}


def _save(job: Job, step: int, value: float) -> None:
    target = job.checkpoints / f"step-{step:08d}"
    shutil.rmtree(target, ignore_errors=True)
    with fsio.staged_folder(target) as folder:
        fsio.write_json(folder / "state.json", {"step": step, "value": value, "sum": _sum(step, value)})
    for old in checkpoints(job.dir)[:-KEPT]:
        shutil.rmtree(old)
    job.event("checkpoint", f"step {step}", step=step)


def _newest(job: Job) -> tuple[int, float]:
    for folder in reversed(checkpoints(job.dir)):
        try:
            state = fsio.read_json(folder / "state.json")
            if state["sum"] == _sum(state["step"], state["value"]):
                job.event("resumed", f"from step {state['step']}", step=state["step"])
                return state["step"], state["value"]
        except (CorruptFile, FileNotFoundError, KeyError):
            pass
        job.event("warning", f"{folder.name} is damaged")
        shutil.rmtree(folder)
    return 0, 0.5


def _sum(step: int, value: float) -> int:
    return zlib.crc32(f"{step} {value!r}".encode())


if __name__ == "__main__":
    run_job(main)
