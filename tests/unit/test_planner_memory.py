"""The formula of peak memory: the textbook case, its parts, and how it moves with the settings."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.core import registry
from finetui.core.api import Example, Footprint, Turn
from finetui.core.modelspec import ModelSpec
from finetui.core.planner.memory import PARTS, devices_needed, estimate, human_bytes
from finetui.core.planner.reading import read_model
from finetui.core.planner.workload import Workload, guess_lengths, largest_batch
from finetui.core.training import TrainingOptions

GB = 10**9
LLAMA_65B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
    "intermediate_size": 22016, "vocab_size": 32000, "dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
QWEN_05B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 896, "num_hidden_layers": 24, "num_attention_heads": 14,
    "num_key_value_heads": 2, "intermediate_size": 4864, "vocab_size": 151936, "dtype": "bfloat16", "tie_word_embeddings": True,
}  # fmt: skip


def _model(folder: Path, config: dict[str, Any]) -> ModelSpec:
    (folder / "config.json").write_text(json.dumps(config))
    return read_model(folder)


@pytest.fixture
def qwen(tmp_path: Path) -> ModelSpec:
    return _model(tmp_path, QWEN_05B)


def _parts(model: ModelSpec, method: str = "lora", load: Workload | None = None, **training: Any) -> dict[str, int]:
    plugin = registry.load("methods", method)
    footprint = plugin.footprint(model, plugin.options())
    return estimate(model, footprint, TrainingOptions(**training), load or Workload(1024, 512, 256, 256))


def test_textbook_65b_in_mixed_precision(tmp_path: Path) -> None:
    model = _model(tmp_path, LLAMA_65B)
    training = TrainingOptions(per_device_train_batch_size=1, gradient_checkpointing=True)
    parts = estimate(model, Footprint(model.parameters), training, Workload(1024, 1024, 1024, 1024), master_copy="fp32")
    assert parts["weights"] == pytest.approx(130 * GB, rel=0.01)
    assert parts["gradients"] == pytest.approx(130 * GB, rel=0.01)
    assert parts["master_weights"] == pytest.approx(260 * GB, rel=0.01)
    assert parts["optimizer"] == pytest.approx((260 + 260) * GB, rel=0.01)
    assert sum(parts.values()) - parts["overhead"] == pytest.approx(1040 * GB, rel=0.01)


def test_parts_are_complete_and_whole(qwen: ModelSpec) -> None:
    for method in ("full", "lora", "qlora"):
        parts = _parts(qwen, method)
        assert tuple(parts) == PARTS and all(isinstance(size, int) and size >= 0 for size in parts.values())


def test_full_holds_weights_and_moments_in_float32(qwen: ModelSpec) -> None:
    parts = _parts(qwen, "full")
    assert parts["weights"] == 4 * qwen.parameters and parts["optimizer"] == 8 * qwen.parameters
    assert parts["master_weights"] == parts["quantisation"] == parts["adapter"] == 0


def test_lora_holds_frozen_weights_in_16_bits_and_its_own_in_32(qwen: ModelSpec) -> None:
    parts = _parts(qwen, "lora")
    plugin = registry.load("methods", "lora")
    added = plugin.footprint(qwen, plugin.options()).added_parameters
    assert parts["weights"] == 2 * qwen.parameters
    assert parts["adapter"] == 4 * added and parts["optimizer"] == 8 * added


def test_qlora_holds_projections_at_half_a_byte_and_constants(qwen: ModelSpec) -> None:
    parts = _parts(qwen, "qlora")
    assert parts["weights"] == qwen.linear_parameters // 2 + 2 * (qwen.parameters - qwen.linear_parameters)
    assert parts["quantisation"] == pytest.approx(0.016 * qwen.linear_parameters, rel=0.02)


def test_logits_are_made_in_slices(qwen: ModelSpec) -> None:
    few, many = (_parts(qwen, load=Workload(1024, loss, 256, 256))["activations"] for loss in (100, 200))
    assert many - few == 100 * 4 * qwen.hidden_size  # hidden states and their gradient only


def test_logits_changed_after_the_head_are_whole(tmp_path: Path) -> None:
    model = _model(tmp_path, {**QWEN_05B, "final_logit_softcapping": 30.0})
    few, many = (_parts(model, load=Workload(1024, loss, 256, 256))["activations"] for loss in (100, 200))
    assert many - few == 100 * (12 * model.vocab_size + 4 * model.hidden_size)


def test_every_new_length_costs_memory_on_a_cpu(qwen: ModelSpec) -> None:
    footprint = registry.load("methods", "lora").footprint(qwen, registry.load("methods", "lora").options())
    one, many = (
        estimate(qwen, footprint, TrainingOptions(), Workload(1024, 512, 256, 256, distinct), on_cpu=True)["overhead"]
        for distinct in (1, 8)
    )
    assert many - one > 7 * 10**7
    lengths = list(range(1, 641))
    assert largest_batch(TrainingOptions(max_length=640), lengths).distinct == 10
    assert largest_batch(TrainingOptions(max_length=640, max_steps=1, per_device_train_batch_size=4), lengths).distinct == 3
    assert largest_batch(TrainingOptions(), [65, 100, 128]).distinct == 1


def test_activations_grow_with_tokens_and_shrink_with_checkpointing(qwen: ModelSpec) -> None:
    small, large = (_parts(qwen, load=Workload(tokens, 1, 256, 256))["activations"] for tokens in (1000, 2000))
    assert large == pytest.approx(2 * small, rel=0.01)
    kept = _parts(qwen, load=Workload(2000, 1, 256, 256), gradient_checkpointing=True)["activations"]
    assert kept < large / 4


def test_at_the_peak_of_a_small_batch_all_gradients_are_there(qwen: ModelSpec) -> None:
    parts = _parts(qwen, "full", Workload(8, 8, 8, 8), gradient_checkpointing=True)
    assert parts["gradients"] == 4 * qwen.parameters and parts["activations"] == 0
    parts = _parts(qwen, "full", Workload(20_000, 20_000, 512, 512))
    assert parts["gradients"] == 4 * qwen.vocab_size * qwen.hidden_size and parts["activations"] > 0


def test_accumulation_keeps_gradients_through_the_forward_pass(qwen: ModelSpec) -> None:
    load = Workload(20_000, 20_000, 512, 512)
    assert _parts(qwen, "full", load, gradient_accumulation_steps=4)["gradients"] == 4 * qwen.parameters


def test_float32_takes_more_activations_than_bfloat16(qwen: ModelSpec) -> None:
    plugin = registry.load("methods", "lora")
    footprint = plugin.footprint(qwen, plugin.options())
    load = Workload(1024, 512, 256, 256)
    half, whole = (estimate(qwen, footprint, TrainingOptions(), load, precision=precision) for precision in ("bf16", "fp32"))
    assert whole["weights"] == 2 * half["weights"] and whole["activations"] > 1.2 * half["activations"]


def test_devices_needed() -> None:
    parts = dict.fromkeys(PARTS, 0) | {"weights": 100 * GB, "optimizer": 50 * GB, "activations": 5 * GB, "overhead": GB}
    assert devices_needed(parts, 200 * GB) == 1
    assert devices_needed(parts, 80 * GB) == 3  # 74 GB beside each one's own 6
    assert devices_needed(parts, 6 * GB) is None


def test_largest_batch() -> None:
    training = TrainingOptions(per_device_train_batch_size=4, max_length=100)
    assert largest_batch(training) == Workload(400, 400, 100, 100, 2, examples=4)
    assert largest_batch(training, [50] * 20, [20] * 20) == Workload(200, 80, 50, 50, 1, examples=4)
    assert largest_batch(training, [500, 10, 10], [400, 5, 5]) == Workload(120, 110, 100, 85, 2, examples=4)  # cut, and all of them at most
    many = largest_batch(training, [10] * 900 + [100] * 100)
    assert 4 * 19 < many.tokens < 400


def test_guessed_lengths_are_rather_too_many() -> None:
    chat = Example(turns=(Turn("user", "What is the capital of France?"), Turn("assistant", "It is Paris.")))
    lengths, losses = guess_lengths([chat, Example(text="你好，世界")])
    assert lengths[0] > losses[0] > 5
    assert lengths[1] == losses[1] >= 5
    assert guess_lengths([chat], loss_on="all") == ([lengths[0]], [lengths[0]])


def test_human_bytes() -> None:
    assert [human_bytes(n) for n in (5, 8_800_000, 130 * GB, 1_040 * GB)] == ["5 B", "8.8 MB", "130 GB", "1.0 TB"]
