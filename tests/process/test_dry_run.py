"""The dry run against what torch's allocator really gives out, method by method; and what the training job does with it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core import registry
from finetui.core.errors import DoesNotFit
from finetui.core.planner.reading import read_model
from finetui.core.planner.tasks import for_task
from finetui.core.training import TrainingOptions
from finetui.core.worker import rehearsal
from finetui.core.worker import train as trainer
from finetui.core.worker.dryrun import dry_run, placeholder
from finetui.core.worker.precision import Precision
from finetui.core.worker.probe import probe
from support.models import ARCHITECTURES, tiny_config, tiny_model
from support.training import lines, train, write_rows

CPU = torch.device("cpu")
LENGTHS = (300, 180, 128, 60)
"""Long enough that the copies which kernels make of a weight are small beside the activations."""

CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("qwen2", "lora", "causal-lm", {}),
    ("qwen2", "full", "causal-lm", {"gradient_checkpointing": True}),
    ("llama", "qlora", "causal-lm", {}),
    ("falcon", "bitfit", "causal-lm", {}),
    ("gpt2", "top_layers", "causal-lm", {"gradient_accumulation_steps": 2}),
    ("qwen3", "full", "causal-lm", {"master_copy": "fp32"}),
    ("bert", "qlora", "seq-cls", {}),
    ("falcon", "adalora", "causal-lm", {"gradient_checkpointing": True}),
    ("qwen2", "p_tuning", "causal-lm", {"gradient_checkpointing": True}),
]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Kernels take scratch memory for each thread, which on models as small as these is several per cent of everything."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def ratio(folder: Path, family: str, method: str, task: Any, training: dict[str, Any], dtype: torch.dtype = torch.bfloat16) -> float:
    """Planned over measured bytes of live tensors."""
    model = tiny_model(folder, family)
    spec = for_task(read_model(model), task)
    plugin = registry.load("methods", method)
    examples = [placeholder(length, length // 2, task) for length in LENGTHS]
    arguments: dict[str, Any] = {"device": CPU, "precision": Precision(dtype, "cpu")}
    case = (spec, plugin, plugin.options(), TrainingOptions(**training), examples)
    planned = dry_run(*case, **arguments)
    assert sum(planned.parts.values()) == planned.total_bytes
    assert planned.trainable_parameters == plugin.footprint(spec, plugin.options()).trainable_parameters
    return planned.total_bytes / probe(*case, **arguments, labels=["a", "b"]).live_bytes


@pytest.mark.parametrize(("family", "method", "task", "training"), CASES)
def test_the_dry_run_counts_what_is_allocated(family: str, method: str, task: str, training: dict[str, Any], tmp_path: Path) -> None:
    assert ratio(tmp_path / "base", family, method, task, training) == pytest.approx(1, abs=0.05)


FORMULA_CASES = [
    (family, method)
    for family in ("qwen2", "llama", "gpt2", "bert")
    for method in ("full", "lora", "qlora", "adapter", "top_layers", "prefix_tuning", "bitfit", "prompt_tuning")
    if (family, method) != ("llama", "bitfit")  # it has no biases
]


FORMULA_SLICE = {
    ("qwen2", "full", "bf16"), ("llama", "lora", "bf16"), ("gpt2", "top_layers", "fp32"), ("bert", "adapter", "bf16"),
    ("qwen2", "qlora", "fp32"), ("llama", "prefix_tuning", "bf16"),
}  # fmt: skip
"""Those that always run; the others belong to the matrix."""


@pytest.mark.parametrize(
    ("family", "method", "precision"),
    [
        pytest.param(*case, precision, marks=() if (*case, precision) in FORMULA_SLICE else pytest.mark.matrix)
        for case in FORMULA_CASES
        for precision in ("bf16", "fp32")
    ],
)
def test_the_formula_is_near_the_dry_run(family: str, method: str, precision: str, tmp_path: Path) -> None:
    """The instant formula, on 256 wide models of 6 blocks, is within 15 % of what the dry run counts."""
    from finetui.core.planner.activations import keeps_documents_apart
    from finetui.core.planner.memory import estimate
    from finetui.core.planner.workload import largest_batch

    task = "seq-cls" if family == "bert" else "causal-lm"
    tiny_config(family, 8000, 2, hidden=256, layers=6).save_pretrained(tmp_path)
    spec, plugin = for_task(read_model(tmp_path), task), registry.load("methods", method)
    options, training = plugin.options(), TrainingOptions(per_device_train_batch_size=4)
    load = largest_batch(training, [384] * 9, [192] * 9, packed=plugin.packs and keeps_documents_apart(spec))
    load = replace(load, loss_tokens=0 if task == "seq-cls" else load.loss_tokens)
    examples = [placeholder(384, 192, task)] * 4
    parts = estimate(spec, plugin.footprint(spec, options), training, load, precision=precision, on_cpu=True)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    counted = dry_run(spec, plugin, options, training, examples, device=CPU, precision=Precision(dtype, "cpu"))
    assert sum(parts.values()) - parts["overhead"] == pytest.approx(counted.total_bytes, rel=0.15), (parts, counted.parts)


@pytest.mark.matrix
@pytest.mark.parametrize("family", ARCHITECTURES)
@pytest.mark.parametrize("method", registry.names("methods"))
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_every_method_on_every_architecture(family: str, method: str, dtype: torch.dtype, tmp_path: Path) -> None:
    task = "seq-cls" if family == "bert" else "causal-lm"
    plugin = registry.load("methods", method)
    refusal = plugin.refusal(for_task(read_model(tiny_model(tmp_path / "asked", family)), task), task, plugin.options())
    if refusal:
        pytest.skip(refusal)
    for checkpointing in (False, True):
        folder = tmp_path / str(checkpointing)
        assert ratio(folder, family, method, task, {"gradient_checkpointing": checkpointing}, dtype) == pytest.approx(1, abs=0.05)


def test_it_takes_milliseconds_for_billions_of_parameters(tmp_path: Path) -> None:
    """8 B parameters: less than a machine like this could hold, and no weights are read."""
    from transformers import LlamaConfig

    LlamaConfig(
        vocab_size=128256, hidden_size=4096, intermediate_size=14336, num_hidden_layers=32, num_attention_heads=32, num_key_value_heads=8,
        architectures=["LlamaForCausalLM"],
    ).save_pretrained(tmp_path)  # fmt: skip
    spec, method = read_model(tmp_path), registry.load("methods", "full")
    planned = dry_run(
        spec, method, method.options(), TrainingOptions(), [placeholder(512, 256)], device=CPU, precision=Precision(torch.bfloat16, "cpu")
    )
    assert planned.parts["weights"] == pytest.approx(4 * spec.parameters, rel=1e-6) and planned.seconds < 10


def test_a_run_says_what_a_step_takes_before_it_loads_weights(tmp_path: Path) -> None:
    job, result = train(tiny_model(tmp_path / "base", "qwen2"), write_rows(tmp_path / "rows.jsonl"), training={"max_steps": 2})
    kinds = [line["kind"] for line in lines(job, "events.jsonl")]
    assert kinds.index("dry_run") < kinds.index("prepared")
    told = next(line for line in lines(job, "events.jsonl") if line["kind"] == "dry_run")["data"]
    assert told["trainable_parameters"] == result["trainable_parameters"]
    assert told["total_bytes"] == sum(told["parts"].values())


def test_a_run_that_cannot_fit_ends_before_it_loads_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rehearsal, "free_bytes", lambda device: 1_000_000)
    monkeypatch.setattr(trainer, "load_model", lambda *arguments: pytest.fail("weights were loaded"))
    with pytest.raises(DoesNotFit, match=r"1\.0 MB are free") as caught:
        train(tiny_model(tmp_path / "base", "qwen2"), write_rows(tmp_path / "rows.jsonl"))
    assert caught.value.exit_code == 4 and "nothing here fits: the least is" in caught.value.hint  # as the launch would say
