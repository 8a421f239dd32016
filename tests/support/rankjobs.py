"""A training job for tests of several processes: real training, with faults of one rank on demand.

The request is a `TrainRequest` and may have ``"fault"``, ``{"rank", "step", "do"}``: what that rank does before that step:
``bug`` and ``memory`` raise, ``interrupt`` and ``kill`` send itself a signal. Or it has ``"cases"`` alone: folders of other training
runs, which the same processes train one after the other; in these every rank but the first draws other start weights than it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import torch
from finetui.core.runs.job import Job, run_job
from finetui.core.worker import train
from finetui.core.worker.loop import Loop
from transformers import set_seed


def main(job: Job) -> dict[str, Any]:
    """Train, or train each of the cases."""
    if "cases" in job.spec.request and job.rank:
        train.set_seed = lambda seed: set_seed(seed + 99)
    for folder in job.spec.request.get("cases", []):
        os.environ["TORCHELASTIC_RUN_ID"] = Path(folder).name
        (Path(folder) / "ranks").mkdir(exist_ok=True)
        case = Job(Path(folder))
        train.main(case)
        case.close()
    if "cases" in job.spec.request:
        return {}
    if "fault" in job.spec.request and job.attempt == 1:
        _arm(**job.spec.request["fault"])
    return train.main(job)


def _arm(rank: int, step: int, do: str) -> None:
    original = Loop.train_step

    def train_step(self: Loop) -> None:
        if self.world.rank == rank and self.progress.step == step:
            _misbehave(do)
        original(self)

    Loop.train_step = train_step  # type: ignore[method-assign]


def _misbehave(what: str) -> None:
    match what:
        case "bug":
            raise ValueError("a bug in one rank")
        case "memory":
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        case "interrupt":
            os.kill(os.getpid(), signal.SIGINT)
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    run_job(main)
