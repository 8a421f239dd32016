"""The ranking of methods: what fits, how fast each should train, what would make it fit, and the reasons."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.core import registry
from finetui.core.planner.advice import make_plan
from finetui.core.planner.ranking import Ranked, rank_methods
from support.cli import finetui, ok

GB = 10**9
QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
LLAMA_65B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
    "intermediate_size": 22016, "vocab_size": 32000, "dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
SHORT = {"lengths": [200] * 100, "loss_lengths": [100] * 100}


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
    return tmp_path


def ranked(folder: Path, memory: int, **training: Any) -> dict[str, Ranked]:
    return {row.method: row for row in rank_methods(folder, training, memory_bytes=memory, **SHORT)}


@pytest.mark.parametrize("name", registry.names("methods"))
def test_every_method_says_when_it_is_a_good_choice(name: str) -> None:
    reason = registry.load("methods", name).good_for
    assert reason.startswith("When ") and reason.endswith(".") and reason.count(".") == 1 and len(reason) < 130


def test_speed_follows_from_the_work_that_each_method_needs(qwen: Path) -> None:
    rows = ranked(qwen, 300 * GB)
    speed = {name: row.relative_speed for name, row in rows.items()}
    assert speed["full"] == 1
    assert speed["lora"] == pytest.approx(1.5, abs=0.05)  # two of three passes
    assert speed["top_layers"] > 2 > speed["gradual_unfreezing"] > 1.2  # nothing goes back below the lowest trained block
    assert speed["qlora"] < speed["lora"] and speed["adapter"] < speed["bitfit"]
    checkpointed = ranked(qwen, 300 * GB, gradient_checkpointing=True)
    assert checkpointed["lora"].relative_speed < speed["lora"]  # the forward pass is done again, a larger share of less work


def test_what_a_ranking_advises_fits(qwen: Path) -> None:
    rows = ranked(qwen, 20 * GB)
    changed = [row for row in rows.values() if row.settings]
    assert len(changed) > 5
    for row in changed:
        assert not row.fits and make_plan(qwen, row.method, {}, row.settings, memory_bytes=20 * GB, **SHORT).fits
    assert rows["full"].settings == {} and rows["full"].advice == ["no change of settings is enough"]


def test_other_methods_are_advised_with_their_reason(qwen: Path) -> None:
    plan = make_plan(qwen, "full", {}, {}, memory_bytes=40 * GB, **SHORT)
    assert [sentence.split()[2] for sentence in plan.advice] == ["top_layers", "lora", "qlora"]  # what trains most first
    assert registry.load("methods", "qlora").good_for.rstrip(".") in plan.advice[-1]


def test_plan_without_a_method_ranks_them(tmp_path: Path, qwen: Path) -> None:
    asked = ("--home", tmp_path / "home", "plan", "--model", qwen, "--memory", "20GB")
    rows = ok(*asked)
    assert {"method", "total_bytes", "parts", "fits", "good_for", "relative_speed", "settings", "advice"} <= set(rows[0])
    assert [row["fits"] for row in rows] == sorted((row["fits"] for row in rows), reverse=True)
    shown = finetui(*asked).out
    assert "When " in shown and "per_device_train_batch_size=" in shown and "1.5x" in shown


def test_the_textbook_case(tmp_path: Path) -> None:
    """65 B parameters in classical mixed precision, of which only ``config.json`` is there; short examples, so that the peak is where all
    gradients exist."""
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_65B))
    plan = ok(
        "--home", tmp_path / "home", "plan", "--model", tmp_path, "--method", "full", "--set", "master_copy=fp32",
        "--set", "bf16=true", "--set", "per_device_train_batch_size=1", "--set", "max_length=512", "--memory", "80GB",
    )  # fmt: skip
    parts = {name: size / GB for name, size in plan["parts"].items()}
    assert plan["precision"] == "bf16" and not plan["fits"] and plan["trainable_parameters"] == pytest.approx(65.3e9, rel=0.01)
    assert [parts[name] for name in ("weights", "gradients", "master_weights", "optimizer")] == pytest.approx(
        [130, 130, 260, 520], rel=0.01
    )
