"""The inference engine against plain transformers and PEFT: same logits, and nothing left behind by a swap."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.errors import CorruptFile, Incompatible, NameTaken, NotFound, Refused, UnsafeFile
from finetui.core.worker.engine import Engine
from safetensors.torch import load_file, save_file
from support.adapters import lora, make_adapter, make_full, plain_logits
from support.models import FAMILIES, tiny_model

IDS = torch.tensor([[7, 100, 42, 9, 250, 33, 8, 77]])


@torch.no_grad()
def logits(engine: Engine) -> torch.Tensor:
    return engine.model(input_ids=IDS).logits


def weights(engine: Engine) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in engine.base.state_dict().items()}


def assert_same_weights(engine: Engine, before: dict[str, torch.Tensor]) -> None:
    after = engine.base.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())


@pytest.mark.parametrize("family", FAMILIES)
def test_swapping_gives_each_adapters_exact_logits(tmp_path: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    a, b = make_adapter(tmp_path / "a", base, seed=1), make_adapter(tmp_path / "b", base, seed=2)
    engine = Engine(base)
    untouched = weights(engine)
    alone = logits(engine)
    engine.add("a", a)
    engine.add("b", b)
    assert engine.active is None
    assert torch.equal(logits(engine), alone)
    seen = {}
    for name in ("a", "b", None, "a", None, "b"):
        assert engine.activate(name) < 0.1
        seen.setdefault(name, logits(engine))
        assert torch.equal(logits(engine), seen[name])
    assert torch.equal(seen["a"], plain_logits(base, a, IDS))
    assert torch.equal(seen["b"], plain_logits(base, b, IDS))
    assert torch.equal(seen[None], plain_logits(base, None, IDS))
    assert not torch.equal(seen["a"], seen["b"])
    engine.activate(None)
    assert_same_weights(engine, untouched)


def test_names_may_hold_dots_and_contain_each_other(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    engine = Engine(base)
    names = ["sql", "sql-v2", "sql.v2/q_proj", "default", "lora_A"]
    folders = [make_adapter(tmp_path / str(seed), base, seed=seed) for seed in range(len(names))]
    for name, folder in zip(names, folders):
        assert engine.add(name, folder).name == name
    engine.remove("sql")
    for name, folder in list(zip(names, folders))[1:]:
        engine.activate(name)
        assert torch.equal(logits(engine), plain_logits(base, folder, IDS))


def test_removing_adapters(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    a, b = make_adapter(tmp_path / "a", base, seed=1), make_adapter(tmp_path / "b", base, seed=2)
    engine = Engine(base)
    engine.add("a", a)
    engine.add("b", b)
    engine.activate("a")
    of_a = logits(engine)
    engine.remove("b")
    assert engine.active == "a"
    assert torch.equal(logits(engine), of_a)
    engine.remove("a")
    assert engine.active is None
    assert torch.equal(logits(engine), plain_logits(base, None, IDS))
    with pytest.raises(NotFound):
        engine.activate("a")
    engine.add("a", b)  # the name is free again, and means the new adapter
    engine.activate("a")
    assert torch.equal(logits(engine), plain_logits(base, b, IDS))


def test_adapters_of_different_kinds_are_resident_together(tmp_path: Path) -> None:
    from peft import IA3Config, PromptTuningConfig

    base = tiny_model(tmp_path / "base", "qwen2")
    kinds: dict[str, Any] = {
        "lora": lora(),
        "dora": lora(use_dora=True),
        "biased": lora(bias="all"),
        "head": lora(target_modules=["q_proj"], modules_to_save=["lm_head"]),
        "ia3": IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]),
        "prompt": PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=5),
    }
    folders = {name: make_adapter(tmp_path / name, base, config=config) for name, config in kinds.items()}
    engine = Engine(base)
    untouched = weights(engine)
    for name, folder in folders.items():
        assert engine.add(name, folder).bytes > 0
    for name in (*folders, *reversed(folders)):
        engine.activate(name)
        assert torch.equal(logits(engine), plain_logits(base, folders[name], IDS)), name
        engine.activate(None)
        assert_same_weights(engine, untouched)
    assert torch.equal(logits(engine), plain_logits(base, None, IDS))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("family", ["qwen2", "gpt2"])
def test_a_full_fine_tune_is_swapped_in_as_weights(tmp_path: Path, family: str, dtype: torch.dtype) -> None:
    base = tiny_model(tmp_path / "base", family)
    full, a = make_full(tmp_path / "full", base, dtype=dtype), make_adapter(tmp_path / "a", base)
    engine = Engine(base)
    untouched = weights(engine)
    engine.add("a", a)
    assert engine.add("full", full).kind == "full"
    for _ in range(2):
        engine.activate("full")
        assert torch.equal(logits(engine), plain_logits(full, None, IDS))
        engine.activate("a")
        assert torch.equal(logits(engine), plain_logits(base, a, IDS))
    engine.activate(None)
    assert_same_weights(engine, untouched)
    assert torch.equal(logits(engine), plain_logits(base, None, IDS))


def test_an_adapter_of_another_base_is_refused_and_leaves_no_trace(tmp_path: Path) -> None:
    base, other = tiny_model(tmp_path / "base", "qwen2"), tiny_model(tmp_path / "other", "gpt2")
    foreign, own = make_adapter(tmp_path / "foreign", other), make_adapter(tmp_path / "own", base)
    wide = tmp_path / "wide"
    shutil.copytree(own, wide)
    tensors = load_file(wide / "adapter_model.safetensors")
    save_file({name: torch.cat([tensor, tensor], 1) for name, tensor in tensors.items()}, wide / "adapter_model.safetensors")
    engine = Engine(base)
    engine.add("own", own)
    engine.activate("own")
    untouched = logits(engine)
    for folder in (foreign, wide, make_full(tmp_path / "full", other)):
        with pytest.raises(Incompatible):
            engine.add("foreign", folder)
        assert engine.active == "own"
        assert torch.equal(logits(engine), untouched)
    engine.activate(None)
    assert torch.equal(logits(engine), plain_logits(base, None, IDS))
    assert [adapter["name"] for adapter in engine.status()["adapters"]] == ["own"]


def test_broken_adapters(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    good = make_adapter(tmp_path / "good", base)
    engine = Engine(base)
    engine.add("good", good)
    with pytest.raises(NameTaken):
        engine.add("good", good)
    with pytest.raises(NotFound):
        engine.add("empty", tmp_path)

    partial = tmp_path / "partial"
    shutil.copytree(good, partial)
    tensors = load_file(partial / "adapter_model.safetensors")
    tensors.pop(next(iter(tensors)))
    save_file(tensors, partial / "adapter_model.safetensors")
    with pytest.raises(CorruptFile, match="missing"):
        engine.add("partial", partial)

    torn = tmp_path / "torn"
    shutil.copytree(good, torn)
    with open(torn / "adapter_model.safetensors", "r+b") as file:
        file.truncate(1000)
    with pytest.raises(CorruptFile, match=r"adapter_model\.safetensors"):
        engine.add("torn", torn)

    pickled = tmp_path / "pickled"
    shutil.copytree(good, pickled)
    (pickled / "adapter_model.safetensors").rename(pickled / "adapter_model.bin")
    with pytest.raises(UnsafeFile, match="pickle"):
        engine.add("pickled", pickled)

    for name, content in (("nonsense", "{"), ("unknown", json.dumps({"peft_type": "NO_SUCH"}))):
        folder = tmp_path / name
        shutil.copytree(good, folder)
        (folder / "adapter_config.json").write_text(content)
        with pytest.raises((CorruptFile, Incompatible), match=name):
            engine.add(name, folder)
    assert torch.equal(logits(engine), plain_logits(base, None, IDS))


def test_a_gpu_that_torch_cannot_use_is_not_replaced_by_the_cpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(Refused, match="GPU"):
        Engine(tmp_path)


def test_the_vocabulary_matrix_is_not_copied_for_every_row(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    engine = Engine(base)
    engine.add("a", make_adapter(tmp_path / "a", base))
    vocabulary = engine.base.config.vocab_size
    for active in (None, "a"):
        engine.activate(active)
        with torch.no_grad(), torch.profiler.profile(record_shapes=True) as profile:
            engine.model(input_ids=IDS.repeat(4, 1), logits_to_keep=1)
        products = [event.input_shapes for event in profile.events() or () if event.name == "aten::bmm"]
        assert not [shapes for shapes in products if any(vocabulary in shape for shape in shapes)]
