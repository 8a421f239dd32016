"""The main job on four architectures and three methods, from the command line, checked by plain transformers and PEFT."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.cli import ok, wait
from support.models import tiny_model

FAMILIES = ("qwen2", "llama", "falcon", "gpt2")
METHODS = ("lora", "qlora", "full")
SLICE = (("qwen2", "lora"), ("falcon", "qlora"), ("gpt2", "full"))
"""What the short test run tries."""
LEARNING_RATES = {"lora": 1e-2, "qlora": 1e-2, "full": 3e-3}


def plain_loss(model: Any, rows: list[dict[str, Any]]) -> float:
    """What transformers itself computes, row by row, averaged over the tokens that carry loss."""
    import torch

    total, count = 0.0, 0
    model.eval()
    with torch.no_grad():
        for row in rows:
            labels = torch.tensor([row["labels"]])
            tokens = int((labels[:, 1:] != -100).sum())
            loss = model(input_ids=torch.tensor([row["input_ids"]]), labels=labels).loss
            total += float(loss) * tokens
            count += tokens
    return total / count


@pytest.mark.parametrize(
    ("family", "method"),
    [
        pytest.param(family, method, marks=() if (family, method) in SLICE else pytest.mark.matrix)
        for family in FAMILIES for method in METHODS
    ],
)  # fmt: skip
def test_train_eval_and_load_with_plain_libraries(family: str, method: str, tmp_path: Path, shared_data: Callable[[str], Path]) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    data = shared_data("alpaca_en_demo.json")
    held_out = tmp_path / "held_out.json"
    held_out.write_text(json.dumps(json.loads(data.read_text())[-12:]))
    base = tiny_model(tmp_path / family, family)
    settings = {"max_steps": 12, "max_length": 128, "learning_rate": LEARNING_RATES[method]}
    sets = [word for key, value in settings.items() for word in ("--set", f"{key}={value}")]

    started = ok(
        "train", "--model", base, "--data", data, "--method", method, "--eval-data", held_out, "--name", "result", "--detach", *sets
    )
    assert started["state"] in ("queued", "starting", "running") and started["run"]
    row = wait(started["run"])
    assert row["state"] == "succeeded", row["error"]
    assert row["steps"] == 12
    result = Path(row["adapter"])
    assert result.is_absolute() and (result / "finetui.json").is_file()

    preview = ok("data", "preview", held_out, "--model", base, "-n", 12, "--set", "max_length=1024")
    plain_base = AutoModelForCausalLM.from_pretrained(base)
    assert plain_base.dtype.itemsize == 4
    base_loss = plain_loss(plain_base, preview)
    if method == "full":
        trained_loss = plain_loss(AutoModelForCausalLM.from_pretrained(result), preview)
        scores = ok("eval", "--model", result, "--data", held_out)
        assert abs(scores[0]["loss"] - trained_loss) < 1e-4
    else:
        trained_loss = plain_loss(PeftModel.from_pretrained(plain_base, str(result)), preview)
    scores = ok("eval", "--model", base, "--adapter", result, "--data", held_out)
    assert [score["adapter"] for score in scores] == [None, str(result)]
    assert abs(scores[0]["loss"] - base_loss) < 1e-4
    assert abs(scores[1]["loss"] - trained_loss) < 1e-4
    assert trained_loss < base_loss - 0.1
