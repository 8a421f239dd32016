"""Where a LoRA starts: nowhere, in the base's principal parts, in the data's, or in what quantisation took away."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core import registry
from finetui.core.errors import Incompatible, UsageError, WorkFailed
from finetui.core.planner.reading import read_model
from finetui.core.runs.spec import TrainRequest
from finetui.core.training import TrainingOptions, require_pageable
from finetui.core.worker.checkpoints import Checkpoints, Progress, random_state
from finetui.core.worker.loading import load_base
from finetui.core.worker.optim import build_scheduler
from finetui.core.worker.peft_support import load_adapter
from finetui.core.worker.train import main, prepare
from safetensors.torch import load_file
from support.models import FAMILIES, tiny_model
from support.training import losses, make_job, train, write_rows

CPU = torch.device("cpu")
IDS = torch.arange(5, 37)[None]


def logits(model: Any) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def adapted(model: Any) -> dict[str, Any]:
    """The projections with a LoRA, by name."""
    return {name: module for name, module in model.get_base_model().named_modules() if hasattr(module, "lora_A")}


@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_eva_starts_where_the_inputs_vary_and_changes_nothing_yet(tmp_path: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    job = make_job(base, write_rows(tmp_path / "rows.jsonl"), method_options={"init_lora_weights": "eva", "r": 4})
    loop = prepare(job, job.request(TrainRequest))
    untouched = {name: module.lora_A["default"].weight.clone() for name, module in adapted(loop.model).items()}
    before = logits(loop.model)
    loop.method.see_data(loop.model, loop.method_options, loop.first_batches(), loop.look)
    assert torch.equal(logits(loop.model), before)

    states: dict[str, list[torch.Tensor]] = {name: [] for name in untouched}
    handles = [
        module.base_layer.register_forward_pre_hook(lambda _, inputs, name=name: states[name].append(inputs[0].flatten(0, -2)))
        for name, module in adapted(loop.model).items()
    ]
    for batch in list(loop.first_batches())[:6]:
        loop.look(batch)
    for handle in handles:
        handle.remove()
    for name, module in adapted(loop.model).items():
        weight = module.lora_A["default"].weight.detach()
        assert torch.allclose(weight @ weight.T, torch.eye(4), atol=1e-3), name
        inputs = torch.cat(states[name]).float()
        inputs = inputs - inputs.mean(0)
        best = torch.linalg.svdvals(inputs).square()[:4].sum()
        found = (inputs @ weight.T).square().sum()
        blind = (inputs @ torch.linalg.qr(untouched[name].T)[0]).square().sum()
        assert found > 0.7 * best and found > 2 * blind, f"{name}: other directions vary more"
    assert loop.model.peft_config["default"].rank_pattern == {}


def test_eva_trains_goes_on_exactly_and_is_saved_as_an_ordinary_lora(tmp_path: Path) -> None:
    base, data = tiny_model(tmp_path / "base", "qwen2"), write_rows(tmp_path / "rows.jsonl")
    settings = {"method_options": {"init_lora_weights": "eva", "r": 4}, "training": {"max_steps": 6, "save_steps": 3}}
    whole, result = train(base, data, name="whole", **settings)
    again = make_job(base, data, name="again", **settings)
    (again.dir / "checkpoints").mkdir(exist_ok=True)
    (whole.dir / "checkpoints" / "step-00000003").rename(again.dir / "checkpoints" / "step-00000003")
    second = main(again)
    assert losses(again) == losses(whole)[3:] and losses(whole)[-1] < losses(whole)[0]
    one, two = (load_file(Path(r["adapter"]) / "adapter_model.safetensors") for r in (result, second))
    assert all(torch.equal(one[name], two[name]) for name in one)
    config = load_adapter(load_base(base), result["adapter"], "x").peft_config["x"]
    assert config.init_lora_weights is True and config.eva_config is None


def test_eva_says_what_it_needs(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    plugin = registry.load("methods", "lora")
    assert "rank_pattern" in plugin.refusal(
        read_model(base), "causal-lm", plugin.options(init_lora_weights="eva", rank_pattern={"q_proj": 2})
    )  # fmt: skip
    job = make_job(base, write_rows(tmp_path / "rows.jsonl"), method_options={"init_lora_weights": "eva", "r": 4000})
    with pytest.raises(WorkFailed, match="at least 4000 tokens"):
        main(job)


@pytest.mark.parametrize("family", FAMILIES)
def test_loftq_gives_back_what_quantisation_took(tmp_path: Path, family: str) -> None:
    from bitsandbytes.functional import dequantize_4bit

    base = tiny_model(tmp_path / "base", family)
    plugin = registry.load("methods", "qlora")
    options = plugin.options(init_lora_weights="loftq", r=8, bnb_4bit_compute_dtype="float32")
    model = plugin.prepare(load_base(base, dtype=torch.float32, load_arguments=plugin.load_arguments(options, CPU)), options, "causal-lm")
    exact = load_base(base, dtype=torch.float32)
    for name, module in adapted(model).items():
        weight = exact.get_submodule(name).weight
        weight = weight.T if family == "gpt2" else weight
        quantised = dequantize_4bit(module.base_layer.weight.data, module.base_layer.weight.quant_state).float()
        update = module.get_delta_weight("default")
        left = torch.linalg.svdvals(weight - quantised)[8:].square().sum().sqrt()  # what no update of rank 8 can give back
        assert (weight - quantised - update).norm().item() == pytest.approx(left.item(), rel=1e-3), name
        assert (weight - quantised - update).norm() < 0.9 * (weight - quantised).norm()
    quantised_only = plugin.prepare(
        load_base(base, dtype=torch.float32, load_arguments=plugin.load_arguments(options, CPU)),
        plugin.options(r=8, bnb_4bit_compute_dtype="float32"), "causal-lm",
    )  # fmt: skip
    true = logits(exact)
    assert (logits(model) - true).norm() < 0.9 * (logits(quantised_only) - true).norm()


def test_loftq_trains_and_comes_back(tmp_path: Path) -> None:
    base, data = tiny_model(tmp_path / "base", "falcon"), write_rows(tmp_path / "rows.jsonl")
    job = make_job(base, data, "qlora", method_options={"init_lora_weights": "loftq", "bnb_4bit_compute_dtype": "float32"})
    loop = prepare(job, job.request(TrainRequest))
    loop.run()
    assert losses(job)[-1] < losses(job)[0] - 0.1
    folder = tmp_path / "adapter"
    folder.mkdir()
    loop.method.save(loop.model, folder)
    arguments = loop.method.load_arguments(loop.method_options, CPU)
    again = load_adapter(load_base(base, dtype=torch.float32, load_arguments=arguments), folder, "x")
    assert torch.equal(logits(again), logits(loop.model))
    plugin = registry.load("methods", "qlora")
    assert "loftq" in plugin.refusal(read_model(base), "causal-lm", plugin.options(use_dora=True, init_lora_weights="loftq"))


# Paged optimizers ------------------------------------------------------------------------------------------------------


def test_paged_optimizers_are_refused_where_there_is_no_gpu_to_page(tmp_path: Path) -> None:
    base, data = tiny_model(tmp_path / "base", "qwen2"), write_rows(tmp_path / "rows.jsonl")
    with pytest.raises(Incompatible, match="pages a GPU's memory"):
        main(make_job(base, data, "qlora", training={"optim": "paged_adamw_32bit"}))
    require_pageable(TrainingOptions(optim="paged_adamw_8bit"), "cuda")
    with pytest.raises(UsageError, match="master_copy"):
        require_pageable(TrainingOptions(optim="paged_adamw_8bit", master_copy="fp32"), "cuda")


@pytest.mark.parametrize("name", ["AdamW", "AdamW8bit"])
def test_checkpoints_hold_the_states_of_bitsandbytes(tmp_path: Path, name: str) -> None:
    """Those of the paged optimizers are the same but for where they lie."""
    import bitsandbytes

    def made() -> tuple[Any, Any, Any]:
        torch.manual_seed(0)
        model = torch.nn.Linear(128, 64)
        optimizer = getattr(bitsandbytes.optim, name)([{"params": [model.weight]}, {"params": [model.bias]}], lr=1e-2)
        return model, optimizer, build_scheduler(optimizer, TrainingOptions(), 10)

    def steps(model: Any, optimizer: Any, scheduler: Any, start: int, stop: int) -> None:
        for step in range(start, stop):
            torch.manual_seed(step)
            model(torch.randn(4, 128)).square().sum().backward()
            optimizer.step()
            scheduler.step()
            optimizer.zero_grad()

    scaler = torch.amp.GradScaler("cpu", enabled=False)
    model, optimizer, scheduler = made()
    steps(model, optimizer, scheduler, 0, 3)
    checkpoints = Checkpoints(tmp_path / "checkpoints", 2)
    checkpoints.save(model, optimizer, scheduler, scaler, Progress(step=3), {}, [random_state()], 4)
    steps(model, optimizer, scheduler, 3, 6)
    again, other, its = made()
    checkpoints.load(3, checkpoints.read(3), again, other, its, scaler)
    steps(again, other, its, 3, 6)
    assert torch.equal(again.weight, model.weight) and torch.equal(again.bias, model.bias)
