"""A comparison whose children are toys: the real orchestration, seconds instead of minutes.

A training counts steps as `support.toyjobs` does (``max_steps`` of them; the method's options are the toy's own, such as ``pause``
or ``do``); the evaluation gives every adapter a row. ``wait`` in the evaluation's system prompt makes it hang until it is stopped.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import msgspec
from finetui.core.compare.job import Comparison
from finetui.core.runs.job import Job, Stopped, run_job
from finetui.core.runs.spec import CompareEntry, CompareRequest, EvaluateRequest, RunKind, TrainRequest
from finetui.core.runs.store import Run, RunStore

MODULE = "support.toycompare"


def entry(name: str, *, steps: int = 4, seed: int = 0, label: str = "", error: dict[str, str] | None = None, **toy: Any) -> CompareEntry:
    """An entry that trains for ``steps`` steps; other keywords are the toy's."""
    request = TrainRequest(
        model="base", model_path="/base", base_model_name_or_path="base", data=["/data.jsonl"], method="lora", name=name,
        output=f"/results/{name}", gpus="none", training_options={"max_steps": steps}, method_options=toy,
        options={"max_steps": steps, "learning_rate": 1e-3}, planned_memory_bytes=1000, seed=seed,
    )  # fmt: skip
    return CompareEntry(
        method="lora", label=label or name, seed=seed, name=name, error=error, request={} if error else msgspec.to_builtins(request)
    )


def create(store: RunStore, entries: list[CompareEntry], name: str = "cmp", *, devices: str = "none", wait: bool = False) -> Run:
    """A comparison of toys, queued."""
    evaluation = EvaluateRequest(
        model="base", model_path="/base", data=["/data.jsonl"], held_out=0.1, gpus="none", system_prompt="wait" if wait else ""
    )  # fmt: skip
    request = CompareRequest(
        model="base", model_path="/base", data=["/data.jsonl"], entries=entries, evaluation=msgspec.to_builtins(evaluation), devices=devices
    )  # fmt: skip
    return store.create("compare", name, request, module=MODULE)


class ToyComparison(Comparison):
    """Makes toys of its children."""

    def _create(self, kind: RunKind, name: str, request: msgspec.Struct) -> Run:
        asked = msgspec.to_builtins(request)
        if kind == "train":
            asked |= {"steps": asked["training_options"]["max_steps"], **asked["method_options"]}
        return self.store.create(kind, name, asked, parent=self.me.id, module="support.toyjobs" if kind == "train" else MODULE)


def evaluate(job: Job) -> dict[str, Any]:
    """Rows for the base and every adapter: the loss is the place in the list."""
    request = job.request(EvaluateRequest)
    job.event("prepared", "evaluating")
    while request.system_prompt == "wait" and job.attempt == 1:
        if job.stop_requested():
            raise Stopped
        time.sleep(0.02)
    folders: list[str | None] = [None, *(adapter["path"] for adapter in request.adapters)]
    rows = [{"adapter": folder, "loss": 2.0 - number, "perplexity": 1.0, "tokens": 9} for number, folder in enumerate(folders)]
    return {"rows": rows}


def main(job: Job) -> dict[str, Any]:
    """The comparison, or the evaluation that it starts."""
    return evaluate(job) if job.spec.kind == "evaluate" else ToyComparison(job).run()


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))
    run_job(main)
