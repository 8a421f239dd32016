"""Plans end to end: fits or not, what would fit, the ranking, the refusal; fast and without torch."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from finetui.core.devices import Device
from finetui.core.errors import DoesNotFit, Incompatible, NotFound, UsageError
from finetui.core.planner.advice import make_plan, require_fit
from finetui.core.planner.memory import PARTS, Plan
from finetui.core.planner.ranking import rank_methods

GB = 10**9
QWEN_7B = {
    "architectures": ["Qwen2ForCausalLM"], "model_type": "qwen2", "hidden_size": 3584, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "intermediate_size": 18944, "vocab_size": 152064, "dtype": "bfloat16", "tie_word_embeddings": False,
}  # fmt: skip
SHORT = {"lengths": [200] * 100, "loss_lengths": [100] * 100}


@pytest.fixture
def qwen(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(QWEN_7B))
    return tmp_path


def _plan(folder: Path, method: str, memory: int, **training: Any) -> Plan:
    return make_plan(folder, method, {}, training, memory_bytes=memory, **SHORT)


def test_a_plan_from_config_alone(qwen: Path) -> None:
    plan = _plan(qwen, "lora", 80 * GB)
    assert plan.fits and plan.devices_needed == 1 and plan.advice == []
    assert plan.total_bytes == sum(plan.parts.values()) and tuple(plan.parts) == PARTS
    assert plan.low_bytes < plan.total_bytes < plan.high_bytes
    assert plan.total_parameters - plan.trainable_parameters == 7_615_616_512  # the published count
    assert plan.tokens == 1600


def test_methods_need_less_and_less(qwen: Path) -> None:
    full, lora, qlora = (_plan(qwen, method, 80 * GB).total_bytes for method in ("full", "lora", "qlora"))
    assert full > 4 * lora and lora > 1.4 * qlora


def test_what_does_not_fit_says_what_would(qwen: Path) -> None:
    plan = _plan(qwen, "lora", 20 * GB)
    assert not plan.fits and plan.total_bytes > 20 * GB
    text = "\n".join(plan.advice)
    assert "per_device_train_batch_size=" in text and "the same effective batch" in text
    assert "gradient_checkpointing=true" in text and "the method qlora needs" in text


def _setting(sentence: str, name: str) -> int:
    return int(sentence.split(f"{name}=")[1].split()[0].rstrip(","))


def test_processes_on_a_cpu_share_its_memory(qwen: Path) -> None:
    cpu = Device(kind="cpu", id="cpu", uuid="cpu", name="", memory_total=90 * GB, memory_free=90 * GB)
    one, two = (make_plan(qwen, "lora", {}, {"num_processes": count}, device=cpu, **SHORT) for count in (1, 2))
    assert (one.total_bytes, one.memory_bytes) == (two.total_bytes, 2 * two.memory_bytes)
    few = Device(kind="cpu", id="cpu", uuid="cpu", name="", memory_total=90 * GB, memory_free=one.total_bytes + GB)
    plan = make_plan(qwen, "lora", {}, {"num_processes": 2}, device=few, **SHORT)
    assert not plan.fits and "num_processes=1 with gradient_accumulation_steps=2 (the same effective batch)" in "\n".join(plan.advice)


def test_advice_is_true(qwen: Path) -> None:
    """What is advised, planned again, fits, and the effective batch is the one that was asked for."""
    wanted = {"per_device_train_batch_size": 12, "gradient_accumulation_steps": 2}
    plan = _plan(qwen, "lora", 22 * GB, **wanted)
    batch = next(sentence for sentence in plan.advice if sentence.startswith("per_device_train_batch_size="))
    advised = {name: _setting(batch, name) for name in wanted}
    assert advised["per_device_train_batch_size"] * advised["gradient_accumulation_steps"] == 24
    assert _plan(qwen, "lora", 22 * GB, **advised).fits
    assert _plan(qwen, "lora", 22 * GB, **wanted, gradient_checkpointing=True).fits
    assert _plan(qwen, "qlora", 22 * GB, **wanted).fits == any("the method qlora" in sentence for sentence in plan.advice)


def test_shorter_examples_are_advised_only_where_they_help(qwen: Path) -> None:
    long = make_plan(qwen, "qlora", {}, {"max_length": 4096}, memory_bytes=24 * GB, lengths=[4096] * 50, loss_lengths=[64] * 50)
    sentence = next(sentence for sentence in long.advice if sentence.startswith("max_length="))
    shorter = {"max_length": _setting(sentence, "max_length")}
    assert make_plan(qwen, "qlora", {}, shorter, memory_bytes=24 * GB, lengths=[4096] * 50, loss_lengths=[64] * 50).fits


def test_changes_are_joined_where_one_is_not_enough(qwen: Path) -> None:
    plan = make_plan(qwen, "full", {}, {}, memory_bytes=10 * GB)
    assert len(plan.advice) == 1 and "method qlora with gradient_checkpointing=true, per_device_train_batch_size=1" in plan.advice[0]


def test_where_nothing_fits_it_says_so(qwen: Path) -> None:
    plan = _plan(qwen, "full", 2 * GB)
    assert "nothing here fits: the least is qlora" in plan.advice[0]


def test_launching_what_does_not_fit_is_refused(qwen: Path) -> None:
    gpu = Device(kind="cuda", id="0", uuid="GPU-0", name="Small GPU", memory_total=24 * GB, memory_free=20 * GB)
    plan = make_plan(qwen, "lora", {}, {}, device=gpu, **SHORT)
    with pytest.raises(DoesNotFit, match=r"lora needs about .* 20\.0 GB are free on Small GPU") as caught:
        require_fit(plan, gpu)
    assert caught.value.exit_code == 4 and "qlora" in caught.value.hint
    require_fit(make_plan(qwen, "lora", {}, {}, memory_bytes=80 * GB, **SHORT))


def test_old_gpus_compute_in_float16(qwen: Path) -> None:
    gpu = Device(kind="cuda", id="0", uuid="GPU-0", name="V100", memory_total=32 * GB, memory_free=32 * GB, compute_capability=(7, 0))
    assert make_plan(qwen, "lora", {}, {}, device=gpu).precision == "fp16"
    assert make_plan(qwen, "lora", {}, {"fp16": False}, device=gpu).precision == "fp32"


def test_the_precision_on_this_cpu_is_the_one_the_worker_takes(qwen: Path) -> None:
    import torch
    from finetui.core.devices import cpu_device
    from finetui.core.worker.precision import choose

    for options in ({}, {"bf16": True}, {"bf16": False}, {"fp16": True}):
        planned = make_plan(qwen, "lora", {}, options, device=cpu_device()).precision
        assert planned == choose(torch.device("cpu"), **options).name


def test_ranking_puts_what_fits_and_trains_most_first(qwen: Path) -> None:
    everything = rank_methods(qwen, {}, memory_bytes=300 * GB, **SHORT)
    assert [plan.method for plan in everything][0] == "full" and {"lora", "qlora"} <= {plan.method for plan in everything}
    little = rank_methods(qwen, {}, memory_bytes=20 * GB, **SHORT)
    fitting = [plan.method for plan in little if plan.fits]
    assert "qlora" in fitting and "full" not in fitting and [plan.fits for plan in little] == sorted((p.fits for p in little), reverse=True)


def test_without_device_and_memory_it_plans_for_this_machine(qwen: Path) -> None:
    plan = make_plan(qwen, "qlora", {}, {"per_device_train_batch_size": 1}, **SHORT)
    assert plan.device and plan.memory_bytes > 0


def test_refusals_and_wrong_options(qwen: Path) -> None:
    with pytest.raises(NotFound):
        make_plan(qwen, "lorra", {}, {})
    with pytest.raises(UsageError):
        make_plan(qwen, "lora", {"rank": 3}, {})
    with pytest.raises(UsageError):
        make_plan(qwen, "lora", {}, {"batch": 3})
    with pytest.raises(Incompatible, match="no_such_proj"):
        make_plan(qwen, "lora", {"target_modules": ["no_such_proj"]}, {})


def test_a_plan_takes_milliseconds(qwen: Path) -> None:
    _plan(qwen, "full", 8 * GB)
    started = time.process_time()
    for _ in range(10):
        _plan(qwen, "full", 8 * GB)
    assert (time.process_time() - started) / 10 < 0.05


def test_planning_imports_no_torch(qwen: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from finetui.core.planner.advice import make_plan;"
        "from finetui.core.planner.ranking import rank_methods;"
        f"p = Path({str(qwen)!r}); make_plan(p, 'qlora', {{}}, {{}}); rank_methods(p, {{}});"
        "print([m for m in ('torch', 'transformers', 'peft', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr
