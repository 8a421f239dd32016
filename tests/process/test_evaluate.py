"""Evaluation equals what plain transformers and PEFT compute, row by row."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from finetui.core.api import Encoded
from finetui.core.catalog.manifest import Manifest, write_manifest
from finetui.core.errors import DataError
from finetui.core.paths import find_home
from finetui.core.runs.job import Job, Stopped
from finetui.core.runs.spec import EvaluateRequest
from finetui.core.runs.store import RunStore
from finetui.core.worker.engine import Engine
from finetui.core.worker.evaluate import evaluate, main
from support.adapters import lora, make_adapter, make_full
from support.models import FAMILIES, tiny_model
from support.workerjobs import run_in_foreground, succeed

ROWS = [
    {"prompt": "Name the capital of France.", "response": "Paris."},
    {"prompt": "Give three tips for staying healthy", "response": "Eat well, sleep enough, and take a walk every day."},
    {"prompt": "Hi", "response": "Hello! How can I help you today with whatever it is that you would like to do in the morning?"},
    {"prompt": "What is the answer to the question? " * 6, "response": "42"},
    {"prompt": "Translate: good morning", "response": "naïve 日本語 🎉"},
]


@torch.no_grad()
def plain_loss(base: Path, adapter: Path | None, rows: Sequence[Encoded]) -> float:
    """Mean over loss tokens of ``model(input_ids, labels=labels).loss``, one unpadded row at a time."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base)
    model = (model if adapter is None else PeftModel.from_pretrained(model, adapter)).eval()
    total, tokens = 0.0, 0
    for row in rows:
        count = sum(label != -100 for label in row.labels[1:])
        if count:
            loss = model(input_ids=torch.tensor([row.input_ids]), labels=torch.tensor([row.labels])).loss
            total, tokens = total + float(loss) * count, tokens + count
    return total / tokens


def random_rows(count: int, vocabulary: int, *, seed: int = 0) -> list[Encoded]:
    generator = torch.Generator().manual_seed(seed)
    rows = []
    for number in range(count):
        length = int(torch.randint(2, 60, (1,), generator=generator))
        ids = torch.randint(5, vocabulary, (length,), generator=generator).tolist()
        masked = int(torch.randint(0, length, (1,), generator=generator)) if number % 3 else 0
        rows.append(Encoded(ids, [-100] * masked + ids[masked:]))
    rows.append(Encoded([7, 8, 9], [7, -100, -100]))  # its only label is the first token, which nothing predicts
    return rows


@pytest.mark.parametrize("family", FAMILIES)
def test_loss_equals_plain_transformers_and_peft(tmp_path: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    adapter = make_adapter(tmp_path / "a", base)
    engine = Engine(base)
    engine.add("a", adapter)
    rows = random_rows(12, engine.base.config.vocab_size)
    losses = set()
    for name, folder in ((None, None), ("a", adapter)):
        expected = plain_loss(base, folder, rows)
        engine.activate(name)
        for batch_size in (1, 5):
            scores = evaluate(engine.model, rows, batch_size, "cpu")
            assert scores.loss == pytest.approx(expected, abs=1e-5)
            assert scores.perplexity == pytest.approx(math.exp(expected), rel=1e-4)
            assert scores.tokens == sum(label != -100 for row in rows for label in row.labels[1:])
        losses.add(round(expected, 6))
    assert len(losses) == 2


@pytest.mark.parametrize("family", ["qwen2", "falcon"])
def test_bfloat16_weights_are_evaluated_as_they_are_stored(tmp_path: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family, dtype=torch.bfloat16)
    engine = Engine(base)
    rows = random_rows(12, engine.base.config.vocab_size)
    assert engine.base.dtype == torch.bfloat16
    assert evaluate(engine.model, rows, 1, "cpu").loss == pytest.approx(plain_loss(base, None, rows), abs=1e-4)
    assert evaluate(engine.model, rows, 5, "cpu").loss == pytest.approx(plain_loss(base, None, rows), abs=1e-3)


def test_virtual_tokens_in_front_carry_no_loss(tmp_path: Path) -> None:
    from peft import PromptTuningConfig

    base = tiny_model(tmp_path / "base", "llama")
    adapter = make_adapter(tmp_path / "a", base, config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4), scale=1.0)
    engine = Engine(base)
    engine.add("a", adapter)
    engine.activate("a")
    rows = [Encoded(row.input_ids, [-100, *row.labels[1:]]) for row in random_rows(6, engine.base.config.vocab_size)]
    expected = plain_loss(base, adapter, rows)
    for batch_size in (1, 4):
        assert evaluate(engine.model, rows, batch_size, "cpu").loss == pytest.approx(expected, abs=1e-5)


def test_the_model_is_left_in_the_mode_it_was_in(tmp_path: Path) -> None:
    engine = Engine(tiny_model(tmp_path / "base", "gpt2"))
    rows = random_rows(2, 100)
    engine.base.train()
    first = evaluate(engine.base, rows, 2, "cpu").loss
    assert engine.base.training
    assert evaluate(engine.base, rows, 2, "cpu").loss == first  # dropout off
    with pytest.raises(DataError):
        evaluate(engine.base, [Encoded([1, 2], [-100, -100])], 2, "cpu")


def request(base: Path, data: Path, adapters: Sequence[Path], **more: Any) -> EvaluateRequest:
    rows = [{"name": folder.name, "path": str(folder)} for folder in adapters]
    return EvaluateRequest(model=base.name, model_path=str(base), adapters=rows, data=[str(data)], gpus="none", **more)


def test_the_job_evaluates_base_and_adapters_on_one_loaded_base(tmp_path: Path) -> None:
    from finetui.core import registry
    from finetui.core.data.shaping import examples
    from finetui.core.worker.encoding import EncodingOptions, encode_examples
    from finetui.core.worker.loading import load_tokenizer
    from finetui.core.worker.rendering import ChatRenderer

    base = tiny_model(tmp_path / "base", "qwen2")
    a, b = make_adapter(tmp_path / "a", base, seed=1), make_adapter(tmp_path / "b", base, seed=2, config=lora(r=2))
    write_manifest(b, Manifest(method="qlora"))
    full = make_full(tmp_path / "full", base)
    data = tmp_path / "eval.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    rows = succeed("evaluate", request(base, data, [a, b, full], batch_size=3))["rows"]

    renderer = ChatRenderer(load_tokenizer(base))
    encoded = encode_examples(examples([data]), renderer, registry.load("objectives", "sft"), EncodingOptions(1024)).encoded
    assert [row["adapter"] for row in rows] == [None, str(a), str(b), str(full)]
    assert [row["name"] for row in rows] == ["base", "a", "b", "full"]
    for row, (model, adapter) in zip(rows, ((base, None), (base, a), (base, b), (full, None))):
        assert row["loss"] == pytest.approx(plain_loss(model, adapter, encoded), abs=1e-5)
        assert row["perplexity"] == pytest.approx(math.exp(row["loss"]))
        assert (row["accuracy"], row["f1"], row["rows"]) == (None, None, len(ROWS))
        assert (row["max_length"], row["base"], "note" in row) == (512, "as stored (float32)", row["name"] == "b")
        assert row["tokens"] == sum(label != -100 for one in encoded for label in one.labels[1:])


def evaluate_here(base: Path, data: Path, **more: Any) -> dict[str, Any]:
    """The job in this process."""
    run = RunStore(find_home().create()).create("evaluate", "e", msgspec.to_builtins(request(base, data, [], **more)))
    job = Job(run.dir)
    try:
        return main(job)
    finally:
        job.close()


def test_rows_longer_than_the_models_context_are_cut_to_it(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "gpt2")  # with learned positions, of which there are 512
    data = tmp_path / "eval.jsonl"
    data.write_text(json.dumps({"prompt": "Count", "response": "one two three " * 200}) + "\n")
    [row] = evaluate_here(base, data, max_length=1024)["rows"]
    assert 400 < row["tokens"] < 512
    assert math.isfinite(row["loss"])


def test_malformed_rows_fail_with_file_and_line(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    data = tmp_path / "eval.jsonl"
    data.write_text(json.dumps(ROWS[0]) + "\n{broken\n")
    result, _ = run_in_foreground("evaluate", request(base, data, []))
    assert (result.state, result.exit_code) == ("failed", 2)
    assert result.error is not None
    assert result.error["message"].startswith(f"{data}:2")


def test_a_stop_keeps_the_rows_that_are_done(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    data = tmp_path / "eval.jsonl"
    data.write_text(json.dumps(ROWS[0]) + "\n")
    run = RunStore(find_home().create()).create("evaluate", "e", msgspec.to_builtins(request(base, data, [])))
    (run.dir / "control").mkdir(exist_ok=True)
    (run.dir / "control" / "stop").write_text("")
    with pytest.raises(Stopped) as stopped:
        main(Job(run.dir))
    assert stopped.value.result == {"rows": []}
