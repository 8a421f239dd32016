"""A real training whose loss explodes: the event, and the option that ends it with a checkpoint from before."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.core.paths import find_home
from finetui.core.runs.store import RunStore
from support.cli import finetui
from support.training import lines, losses, train

EXPLOSIVE: dict[str, Any] = {
    "learning_rate": 10.0, "warmup_steps": 30, "lr_scheduler_type": "constant_with_warmup", "save_steps": 1, "max_steps": 12,
}  # fmt: skip
"""The learning rate rises by a third with every step."""


def test_an_exploding_loss_is_an_event_and_training_goes_on(base: Path, data: Path) -> None:
    job, result = train(base, data, "full", training=EXPLOSIVE)
    (event,) = [event for event in lines(job, "events.jsonl") if event["kind"] == "diverging"]
    step, value, usual = (event["data"][name] for name in ("step", "value", "usual"))
    assert event["data"]["what"] == "loss" and value == losses(job)[step - 1] > 2 * usual > 2 * losses(job)[0] * 0.9
    assert event["message"] == f"step {step}: the loss is {value:.3g}, it was usually {usual:.3g}"
    assert result["steps"] == 12 > step and Path(result["adapter"]).is_dir()
    assert result["mfu"] is None and {line["mfu"] for line in lines(job, "metrics.jsonl")} == {None}, "a CPU has no known peak"


@pytest.mark.parametrize("processes", [1, pytest.param(2, marks=pytest.mark.matrix)])
def test_stop_on_divergence_fails_with_the_reason_and_keeps_the_checkpoint_before(base: Path, data: Path, processes: int) -> None:
    """Of several processes all come to the same decision, and one tells it."""
    options = {**EXPLOSIVE, "per_device_train_batch_size": 4 // processes, "num_processes": processes, "stop_on_divergence": True}
    flags = [part for name, value in options.items() for part in ("--set", f"{name}={json.dumps(value)}")]
    done = finetui("train", "--model", base, "--data", data, "--method", "full", "--gpus", "none", "--follow", "--json", *flags)
    assert done.code == 1, done.err
    found = RunStore(find_home()).get(json.loads(done.out.splitlines()[-1])["run"])
    run, events = found.summary(), lines(found, "events.jsonl")
    (event,) = [event for event in events if event["kind"] == "diverging"]
    step = event["data"]["step"]
    saved = [other["data"]["step"] for other in events if other["kind"] == "checkpoint"]
    assert saved == list(range(1, step - 2)), "none of the three steps under suspicion"
    assert (run["state"], run["steps"], run["trouble"]) == ("failed", step, None)
    message = event["message"].partition(": ")[2]
    assert (
        run["error"]["message"] == f"training diverged: {message}, for 3 steps up to step {step}; the checkpoint of step {step - 3} is kept"
    )
    assert run["error"]["hint"].startswith("lower learning_rate") and run["error"]["message"] in done.err
