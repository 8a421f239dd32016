"""Methods that change part of the base's weights: what is saved, that it comes back exactly, and that it goes nowhere else."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.api import Course
from finetui.core.catalog.catalog import Catalog
from finetui.core.errors import Incompatible, UsageError, WorkFailed
from finetui.core.paths import find_home
from finetui.core.training import TrainingOptions
from finetui.core.worker.engine import Engine
from finetui.core.worker.loading import load_base
from finetui.core.worker.optim import build_scheduler
from finetui.core.worker.train import main
from finetui.plugins.methods.gradual_unfreezing import GradualUnfreezing, GradualUnfreezingOptions, Unfreezing
from safetensors.torch import load_file
from support.models import tiny_model
from support.training import lines, losses, stopped, train

METHODS: dict[str, dict[str, Any]] = {"top_layers": {"num_layers": 1}, "bitfit": {"terms": ["biases", "norms"]}}


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.arange(4, 20)[None], use_cache=False).logits


@pytest.mark.parametrize("method", METHODS)
def test_a_delta_holds_what_changed_and_nothing_else(tmp_path: Path, data: Path, method: str) -> None:
    base = tiny_model(tmp_path / "base", "gpt2", dtype=torch.bfloat16)
    _, result = train(base, data, method, method_options=METHODS[method], training={"max_steps": 3})
    delta, before = load_file(Path(result["adapter"]) / "delta.safetensors"), load_file(base / "model.safetensors")
    assert delta and delta.keys() < before.keys()
    assert {tensor.dtype for tensor in delta.values()} == {torch.bfloat16}
    assert not any(torch.equal(tensor, before[name]) for name, tensor in delta.items())
    if method == "top_layers":
        assert all(name.startswith(("transformer.h.1.", "transformer.ln_f.", "transformer.wte.")) for name in delta)
    else:
        assert all(tensor.ndim == 1 for tensor in delta.values())


@pytest.mark.parametrize("method", METHODS)
def test_frozen_weights_that_were_rounded_for_computing_are_not_in_a_delta(tmp_path: Path, data: Path, method: str) -> None:
    base = tiny_model(tmp_path / "base", "gpt2", dtype=torch.float32)
    settings = {"max_steps": 3, "bf16": True}
    _, result = train(base, data, method, method_options=METHODS[method], training=settings)
    delta = load_file(Path(result["adapter"]) / "delta.safetensors")
    if method == "top_layers":
        assert all(name.startswith(("transformer.h.1.", "transformer.ln_f.", "transformer.wte.")) for name in delta)
    else:
        assert all(tensor.ndim == 1 for tensor in delta.values())


def test_swapping_a_delta_on_and_off_is_exact_here_and_in_a_new_process(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    _, result = train(base, data, "top_layers", training={"max_steps": 3})
    trained = load_base(base)
    trained.load_state_dict(load_file(Path(result["adapter"]) / "delta.safetensors"), strict=False)
    engine = Engine(base, device="cpu")
    plain = logits(engine.base)
    engine.add("a", Path(result["adapter"]))
    engine.activate("a")
    assert torch.equal(logits(engine.model), logits(trained)) and not torch.equal(plain, logits(trained))
    engine.activate(None)
    assert torch.equal(logits(engine.model), plain)
    program = (
        "import sys, torch; from pathlib import Path; from finetui.core.worker.engine import Engine\n"
        "engine = Engine(Path(sys.argv[1]), device='cpu'); engine.add('a', Path(sys.argv[2])); engine.activate('a')\n"
        "with torch.no_grad(): print(engine.model(input_ids=torch.arange(4, 20)[None], use_cache=False).logits.flatten().tolist())"
    )
    told = subprocess.run([sys.executable, "-c", program, str(base), result["adapter"]], capture_output=True, text=True, check=True)
    assert json.loads(told.stdout) == logits(trained).flatten().tolist()


def test_the_catalog_knows_deltas_and_refuses_them_on_another_base(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    _, result = train(base, data, "bitfit", training={"max_steps": 1})
    catalog = Catalog(find_home())
    entry = catalog.adapter("result")
    assert (entry.artifact, entry.method, entry.path, entry.peft_type) == ("delta", "bitfit", result["adapter"], "")
    assert entry.digest and entry.parameters == 256
    catalog.check_pair(catalog.model(str(base)), entry)
    other = catalog.model(str(tiny_model(tmp_path / "other", "qwen2", seed=1)))
    for force in (False, True):
        with pytest.raises(Incompatible, match="was trained on"):
            catalog.check_pair(other, entry, ignore_digest=force)
    (Path(entry.path) / "finetui.json").unlink()
    with pytest.raises(Incompatible, match="does not say which base"):
        catalog.check_pair(catalog.model(str(base)), catalog.adapter(entry.path))


def stages(job: Any) -> list[int]:
    """The stage of every step."""
    return [line["stage"] for line in lines(job, "metrics.jsonl") if "loss" in line]


def test_blocks_are_unfrozen_from_the_top_in_equal_shares(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    job, result = train(base, data, "gradual_unfreezing", training={"max_steps": 8})
    assert stages(job) == [0, 0, 1, 1, 2, 2, 3, 3]
    assert result["trainable_parameters"] == result["total_parameters"]
    job, result = train(base, data, "gradual_unfreezing", name="part", method_options={"steps_per_stage": 3}, training={"max_steps": 6})
    delta = load_file(Path(result["adapter"]) / "delta.safetensors")
    assert stages(job) == [0, 0, 0, 1, 1, 1]
    assert delta and all(name.startswith(("lm_head", "model.norm", "model.layers.1.")) for name in delta)
    job, _ = train(base, data, "gradual_unfreezing", name="epochs", method_options={"epochs_per_stage": 1}, training={"max_steps": 7})
    assert stages(job) == [0, 0, 0, 1, 1, 1, 2]


def test_discriminative_rates_fall_by_the_factor_from_layer_to_layer_and_follow_the_schedule() -> None:
    method = GradualUnfreezing()
    options = GradualUnfreezingOptions(layer_decay=2.6)
    model = torch.nn.ModuleDict({name: torch.nn.Linear(2, 2) for name in "abc"})
    model.unfreezing = Unfreezing({f"{name}.{kind}": depth for depth, name in enumerate("abc") for kind in ("weight", "bias")})  # type: ignore[assignment]
    groups = method.parameter_groups(model, options, 1e-3, 0.1)
    assert [group["lr"] for group in groups] == pytest.approx([1e-3, 1e-3, 1e-3 / 2.6, 1e-3 / 2.6, 1e-3 / 2.6**2, 1e-3 / 2.6**2])
    assert [group["weight_decay"] for group in groups] == [0.1, 0.0] * 3
    optimizer = torch.optim.AdamW(groups)
    scheduler = build_scheduler(optimizer, TrainingOptions(lr_scheduler_type="linear", warmup_steps=0), 10)
    for _ in range(5):
        optimizer.step()
        scheduler.step()
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([group["initial_lr"] / 2 for group in optimizer.param_groups])


def test_a_plateau_of_the_evaluation_loss_unfreezes_the_next_block() -> None:
    method, options = GradualUnfreezing(), GradualUnfreezingOptions(until="plateau", patience=2)
    model = torch.nn.Module()
    model.unfreezing = Unfreezing({"head": 0, "block": 1, "embeddings": 2})  # type: ignore[assignment]
    seen = []
    for loss in (3.0, 2.0, 2.5, 2.0, 1.9, 2.0, 1.9, 1.0, 9.0, 9.0):
        method.after_evaluation(model, options, 0, loss)
        seen.append(model.unfreezing.stage)  # type: ignore[union-attr]
    assert seen == [0, 0, 0, 1, 1, 1, 2, 2, 2, 2]
    with pytest.raises(UsageError, match="no evaluation data"):
        method.begin(model, options, Course(10, 5, False))


def test_a_gradient_where_none_belongs_or_none_where_one_does_is_found() -> None:
    method, options = GradualUnfreezing(), GradualUnfreezingOptions()
    model = torch.nn.ModuleDict({"top": torch.nn.Linear(2, 2, bias=False), "below": torch.nn.Linear(2, 2, bias=False)})
    model.unfreezing = Unfreezing({"top.weight": 0, "below.weight": 1})  # type: ignore[assignment]
    model["top"](torch.ones(1, 2)).sum().backward()
    method.after_step(model, options, 0, 1)
    model.unfreezing.checked = -1  # type: ignore[union-attr]
    model["below"](torch.ones(1, 2)).sum().backward()
    with pytest.raises(WorkFailed, match="below.weight is frozen but got a gradient"):
        method.after_step(model, options, 0, 1)
    model.zero_grad()
    with pytest.raises(WorkFailed, match="top.weight should train but got no gradient"):
        method.after_step(model, options, 0, 1)


RESUMED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "top_layers": ("top_layers", {"num_layers": 1}, {}),
    "bitfit": ("bitfit", {"terms": ["biases", "norms"]}, {}),
    "schedule": ("gradual_unfreezing", {"steps_per_stage": 3, "layer_decay": 2.6}, {}),
    "plateau": ("gradual_unfreezing", {"until": "plateau"}, {"eval_steps": 1, "learning_rate": 0.5, "lr_scheduler_type": "constant"}),
    "master_copy": ("full", {}, {"bf16": True, "master_copy": "fp32"}),
    "gradual_master_copy": ("gradual_unfreezing", {"steps_per_stage": 3}, {"bf16": True, "master_copy": "fp32"}),
}


@pytest.mark.parametrize("case", RESUMED)
def test_a_resumed_run_is_bitwise_an_undisturbed_one(tmp_path: Path, data: Path, case: str) -> None:
    method, method_options, training = RESUMED[case]
    base = tiny_model(tmp_path / "base", "qwen2")
    options: dict[str, Any] = {
        "method_options": method_options, "eval_split": 0.25,
        "training": {"max_steps": 9, "save_steps": 100, "eval_steps": 100, "per_device_train_batch_size": 2, **training},
    }  # fmt: skip
    whole, result = train(base, data, method, name="whole", **options)
    job = stopped(base, data, 5, method, **options)
    resumed = main(job)
    job.close()
    assert losses(job) == losses(whole)
    if method == "gradual_unfreezing":
        assert stages(job) == stages(whole)
        assert len(set(stages(whole))) > 2
    name = "model.safetensors" if method == "full" else "delta.safetensors"
    expected, got = (load_file(Path(each["adapter"]) / name) for each in (result, resumed))
    assert expected.keys() == got.keys() and all(torch.equal(tensor, got[key]) for key, tensor in expected.items())


def test_master_copies_keep_what_bfloat16_would_lose(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    training = {"max_steps": 3, "bf16": True, "learning_rate": 1e-5}
    _, result = train(base, data, "full", training={**training, "master_copy": "fp32"})
    _, plain = train(base, data, "full", name="plain", training=training)
    before, after, usual = (load_file(Path(folder) / "model.safetensors") for folder in (base, result["adapter"], plain["adapter"]))
    for name, tensor in after.items():
        assert not torch.equal(tensor, before[name]) and not torch.equal(tensor, tensor.bfloat16().float())
        assert torch.allclose(tensor, usual[name], rtol=0, atol=8e-5)
