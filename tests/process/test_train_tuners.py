"""The methods of FineTUI's own tuner through the product: they learn, resume exactly, and their results are used like any other."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.catalog.manifest import read_manifest
from finetui.core.sampling import Sampling
from finetui.core.worker.engine import Engine
from finetui.core.worker.generate import generate, prompt_ids
from finetui.core.worker.train import main
from safetensors.torch import load_file
from support.models import ARCHITECTURES, tiny_model
from support.training import lines, losses, stopped, train, write_rows
from support.tuned import METHODS

DROPOUT: dict[str, dict[str, Any]] = {
    "adapter": {"dropout": 0.2}, "lora_adapter": {"lora.lora_dropout": 0.2}, "mam": {"adapter.dropout": 0.2},
    "p_tuning": {"encoder_dropout": 0.2}, "unipelt": {"adapter.dropout": 0.2, "lora.lora_dropout": 0.2},
}  # fmt: skip
TRAINING = {"max_steps": 8, "save_steps": 2, "eval_steps": 4, "per_device_train_batch_size": 2, "learning_rate": 1e-2}


def check_run(tmp_path: Path, family: str, method: str) -> None:
    """A run that was stopped and resumed gives the losses and tensors of one that was not; the result generates."""
    base, data = tiny_model(tmp_path / "base", family), write_rows(tmp_path / "rows.jsonl")
    options: dict[str, Any] = {"eval_split": 0.0, "eval_data": [str(data)], "method_options": DROPOUT.get(method, {}), "training": TRAINING}
    whole, result = train(base, data, method, name="whole", **options)
    first, last = (line["eval_loss"] for line in lines(whole, "metrics.jsonl") if "eval_loss" in line)
    assert last < first  # of all rows; each step's loss is that of others
    job = stopped(base, data, 5, method, **options)
    resumed = main(job)
    job.close()
    assert losses(job) == losses(whole)
    assert resumed["eval"] == result["eval"]
    expected, got = (load_file(Path(each["adapter"]) / "adapter_model.safetensors") for each in (result, resumed))
    assert expected.keys() == got.keys() and all(torch.equal(tensor, got[key]) for key, tensor in expected.items())
    engine = Engine(base)
    engine.add("a", Path(result["adapter"]))
    assert generate(engine, prompt_ids(engine.tokenizer, "Say hello", []), "a", Sampling(8)).tokens


@pytest.mark.parametrize(("family", "method"), [("falcon", "unipelt"), ("qwen2", "p_tuning")])
def test_a_resumed_run_is_bitwise_an_undisturbed_one(tmp_path: Path, family: str, method: str) -> None:
    check_run(tmp_path, family, method)


@pytest.mark.matrix
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("family", [family for family in ARCHITECTURES if family != "bert"])
def test_a_resumed_run_is_bitwise_an_undisturbed_one_everywhere(tmp_path: Path, family: str, method: str) -> None:
    check_run(tmp_path, family, method)


def test_a_unipelt_run_tells_of_its_gates(tmp_path: Path) -> None:
    base, data = tiny_model(tmp_path / "base", "qwen2"), write_rows(tmp_path / "rows.jsonl")
    job, result = train(base, data, "unipelt", training={"max_steps": 3, "gradient_checkpointing": True, "learning_rate": 1e-2})
    for line in lines(job, "metrics.jsonl"):
        assert all(0 < line[f"gate_{kind}"] < 1 for kind in ("lora", "prefix", "adapter"))
    assert {kind: len(values) for kind, values in result["gates"].items()} == {"lora": 4, "prefix": 2, "adapter": 2}
    folder = Path(result["adapter"])
    manifest = read_manifest(folder)
    assert manifest is not None and manifest.metrics["gates"] == result["gates"]
    assert manifest.method_options["prefix.num_virtual_tokens"] == 10
    config = json.loads((folder / "adapter_config.json").read_text())
    assert (config["peft_type"], config["requires"]) == ("FINETUI", "import finetui.core.worker.tuners")
    assert config["prefix"] == {"num_virtual_tokens": 10}
    assert not any("projection" in name for name in load_file(folder / "adapter_model.safetensors"))
