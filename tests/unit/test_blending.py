"""Blends against float64: W + Σ wᵢ (Wᵢ - W), with each Wᵢ from PEFT's own merging."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.errors import Incompatible, NotFound, UsageError
from finetui.core.worker.engine import Engine
from finetui.core.worker.generate import generate
from peft import IA3Config, LoHaConfig, LoKrConfig, PromptTuningConfig
from support.adapters import lora, make_adapter, make_full, plain_logits
from support.models import FAMILIES, tiny_model
from support.tuned import trained

IDS = torch.tensor([[7, 100, 42, 9, 250, 33, 8, 77]])

CONFIGS: dict[str, Any] = {
    "lora": lora(r=4),
    "wide": lora(r=16, lora_alpha=8, use_rslora=True),
    "some": lora(r=2, target_modules=["q_proj", "down_proj"], rank_pattern={"q_proj": 6}, alpha_pattern={"down_proj": 3}),
    "dora": lora(use_dora=True),
    "embedding": lora(target_modules=["embed_tokens", "v_proj"]),
    "ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
    "loha": LoHaConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "up_proj"]),
    "lokr": LoKrConfig(task_type="CAUSAL_LM", r=2, target_modules=["q_proj", "up_proj"]),
}


@torch.no_grad()
def logits(engine: Engine, ids: torch.Tensor = IDS) -> torch.Tensor:
    return engine.model(input_ids=ids).logits


@torch.no_grad()
def exact_logits(base: Path, parts: Mapping[Path, float]) -> torch.Tensor:
    """Logits of the weighted sum of what adapters change about a base's weights, all of it in float64."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    def load() -> Any:
        return AutoModelForCausalLM.from_pretrained(base, dtype=torch.float64).eval()

    blended = load()
    start = {name: tensor.clone() for name, tensor in blended.state_dict().items()}
    for folder, weight in parts.items():
        merged = PeftModel.from_pretrained(load(), folder, autocast_adapter_dtype=False).to(torch.float64).merge_and_unload()  # type: ignore[operator]
        for name, tensor in merged.state_dict().items():
            if name != "lm_head.weight":  # no adapter here is on it, but it may be tied to the embedding
                blended.state_dict()[name].add_(tensor - start[name], alpha=weight)
    return blended(input_ids=IDS).logits


def assert_close(found: torch.Tensor, exact: torch.Tensor) -> None:
    assert (found.double() - exact).abs().max() < 2e-5 * exact.abs().max()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_blend_is_the_weighted_sum_of_what_its_adapters_add(tmp_path: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    folders = {name: make_adapter(tmp_path / name, base, seed=seed, config=lora(r=2 * seed)) for seed, name in enumerate("abc", 1)}
    engine = Engine(base)
    alone = logits(engine)
    for name, folder in folders.items():
        assert engine.add(name, folder).no_blend == ""
    for weights in ({"a": 0.7, "b": 0.3}, {"a": 0.2, "b": 0.3}, {"a": 1.5, "c": -0.5, "b": 0.25}):
        engine.activate(weights)
        assert engine.active == weights
        assert_close(logits(engine), exact_logits(base, {folders[name]: weight for name, weight in weights.items()}))
    engine.activate(None)
    assert torch.equal(logits(engine), alone)


def test_kinds_and_ranks_blend_with_one_another(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")  # its head is its own: merging into a tied embedding would change that too
    folders = {name: make_adapter(tmp_path / name, base, seed=3, config=config, scale=0.1) for name, config in CONFIGS.items()}
    engine = Engine(base)
    for name, folder in folders.items():
        engine.add(name, folder)
    everything = {name: 0.4 + 0.1 * number for number, name in enumerate(folders)}
    for weights in (
        {"lora": 0.6, "wide": 0.5},
        {"dora": 0.5, "lora": 0.5},
        {"some": -1.0, "ia3": 0.3},
        {"embedding": 0.5, "lokr": 2.0},
        everything,
    ):
        engine.activate(weights)
        assert_close(logits(engine), exact_logits(base, {folders[name]: weight for name, weight in weights.items()}))


@pytest.mark.parametrize("name", CONFIGS)
def test_one_adapter_with_weight_1_is_that_adapter_bit_for_bit(tmp_path: Path, name: str) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    folder = make_adapter(tmp_path / "a", base, config=CONFIGS[name])
    engine = Engine(base)
    engine.add("a", folder)
    engine.add("b", make_adapter(tmp_path / "b", base, seed=2))
    engine.activate({"a": 1.0})
    assert torch.equal(logits(engine), plain_logits(base, folder, IDS))
    engine.activate({"a": 0.0, "b": 0.0})
    assert torch.equal(logits(engine), plain_logits(base, None, IDS))
    if name not in ("dora", "embedding", "ia3", "loha", "lokr"):  # those are measured at their outputs, which rounds
        engine.activate({"b": 0.0, "a": 1.0})
        assert torch.equal(logits(engine), plain_logits(base, folder, IDS))


def test_swapping_around_a_blend_leaves_nothing_behind(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    a, b = make_adapter(tmp_path / "a", base, seed=1), make_adapter(tmp_path / "b", base, seed=2)
    engine = Engine(base)
    engine.add("a.1", a)  # torch's modules take no dots in names
    engine.add("b", b)
    half = {"a.1": 0.5, "b": 0.5}
    engine.activate(half)
    blended = logits(engine)
    for other in ("a.1", {"b": 2.0}, None, "b", {"a.1": 0.5, "b": 0.1}, half):
        engine.activate(other)
    assert torch.equal(logits(engine), blended)
    half["b"] = 9.0  # what the caller does with its table afterwards changes nothing
    engine.activate({"a.1": 0.5, "b": 0.5})
    assert torch.equal(logits(engine), blended)
    engine.add("c", make_adapter(tmp_path / "c", base, seed=3))
    assert torch.equal(logits(engine), blended), "loading another one changes nothing"
    engine.remove("b")
    assert engine.active is None and torch.equal(logits(engine), plain_logits(base, None, IDS))
    engine.add("b", make_adapter(tmp_path / "anew", base, seed=4))
    engine.activate({"a.1": 0.5, "b": 0.5})
    assert not torch.equal(logits(engine), blended), "the name means the new adapter"
    engine.activate("a.1")
    assert torch.equal(logits(engine), plain_logits(base, a, IDS))


def test_a_blend_generates_the_same_in_one_go_and_token_by_token(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    engine = Engine(base)
    for seed, name in enumerate("ab"):
        engine.add(name, make_adapter(tmp_path / name, base, seed=seed, scale=0.1))
    ids = IDS[0].tolist()
    weights = {"a": 0.8, "b": -0.4}
    answer = generate(engine, ids, weights)
    assert generate(engine, ids, weights).text == answer.text
    engine.activate(weights)
    for _ in range(answer.tokens):
        ids.append(int(logits(engine, torch.tensor([ids]))[0, -1].argmax()))
    assert engine.tokenizer.decode(ids[IDS.shape[1] :], skip_special_tokens=True) == answer.text


def test_what_cannot_be_weighed_says_why(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    engine = Engine(base)
    engine.add("fine", make_adapter(tmp_path / "fine", base))
    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    folders = {
        "prompt": (make_adapter(tmp_path / "prompt", base, config=prompt), "virtual tokens"),
        "full": (make_full(tmp_path / "full", base), "replaces weights"),
        "biased": (make_adapter(tmp_path / "biased", base, config=lora(bias="all")), "replaces weights"),
        "head": (
            make_adapter(tmp_path / "head", base, config=lora(target_modules=["q_proj"], modules_to_save=["lm_head"])),
            "whole modules",
        ),
    }
    for name in ("prefix_tuning", "adapter", "mam"):
        trained(base, tmp_path / name, name, "causal-lm", IDS)
        folders[name] = (tmp_path / name, "parts")
    engine.activate("fine")
    before = logits(engine)
    for name, (folder, reason) in folders.items():
        assert reason in engine.add(name, folder).no_blend
        with pytest.raises(Incompatible, match=reason) as refusal:
            engine.activate({"fine": 0.5, name: 0.5})
        assert f"'{name}'" in refusal.value.message and refusal.value.hint
        assert engine.active == "fine" and torch.equal(logits(engine), before)
    with pytest.raises(NotFound):
        engine.activate({"fine": 0.5, "nobody": 0.5})
    for wrong in (float("nan"), float("inf")):
        with pytest.raises(UsageError, match="finite"):
            engine.activate({"fine": wrong})
    assert engine.active == "fine" and torch.equal(logits(engine), before)
