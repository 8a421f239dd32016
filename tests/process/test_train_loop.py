"""The loop's arithmetic: accumulation, packing, checkpointing, seeds, evaluation, early stopping, schedules."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.errors import DataError, NameTaken, WorkFailed
from finetui.core.paths import find_home
from finetui.core.worker.corpus import split
from finetui.core.worker.train import main
from safetensors.torch import load_file
from support.models import FAMILIES, tiny_model
from support.training import ROWS, lines, losses, make_job, train, write_rows


def weights(result: dict[str, Any]) -> dict[str, torch.Tensor]:
    return load_file(Path(result["adapter"]) / "adapter_model.safetensors")


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("packing", [True, False])
def test_accumulated_micro_batches_train_as_one_big_batch(tmp_path: Path, data: Path, family: str, packing: bool) -> None:
    base = tiny_model(tmp_path / "base", family)
    if family == "gpt2":
        without_dropout(base)
    results = {}
    for size, accumulation in ((12, 1), (3, 4), (5, 3)):
        training = {"per_device_train_batch_size": size, "gradient_accumulation_steps": accumulation, "packing": packing, "max_steps": 5}
        job, _ = train(base, data, name=f"b{size}", training=training)
        results[size] = losses(job)
    assert results[3] == pytest.approx(results[12], rel=1e-4)
    assert results[5] == pytest.approx(results[12], rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("method", ["full", "lora"])
def test_packed_and_padded_training_are_the_same(tmp_path: Path, data: Path, family: str, method: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    if family == "gpt2":
        without_dropout(base)
    training = {"max_steps": 6, "learning_rate": 1e-3}
    packed, _ = train(base, data, method, name="packed", training=training)
    padded, _ = train(base, data, method, name="padded", training={**training, "packing": False})
    assert losses(packed) == pytest.approx(losses(padded), rel=1e-4)
    tokens = [[line["tokens"] for line in lines(job, "metrics.jsonl")] for job in (packed, padded)]
    assert tokens[0] == tokens[1]


def without_dropout(base: Path) -> None:
    """GPT-2's own configuration drops out a tenth; random numbers differ between layouts."""
    config = base / "config.json"
    text = config.read_text()
    for name in ("attn_pdrop", "embd_pdrop", "resid_pdrop"):
        text = text.replace(f'"{name}": 0.1', f'"{name}": 0.0')
    config.write_text(text)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradient_checkpointing_changes_nothing_but_memory(tmp_path: Path, data: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    for method in ("full", "lora", "qlora"):
        plain, _ = train(base, data, method, name=f"{method}-a", training={"max_steps": 4})
        saving, _ = train(base, data, method, name=f"{method}-b", training={"max_steps": 4, "gradient_checkpointing": True})
        assert losses(plain) == pytest.approx(losses(saving), rel=1e-5)


def test_the_seed_decides_everything(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    options = {"method_options": {"lora_dropout": 0.3}}
    (one, first), (two, second), (three, _) = (train(base, data, name=f"n{i}", seed=seed, **options) for i, seed in enumerate((1, 1, 2)))
    assert losses(one) == losses(two) != losses(three)
    assert all(torch.equal(tensor, weights(second)[name]) for name, tensor in weights(first).items())


def test_loss_is_on_completions_unless_told_otherwise(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    counts = []
    for number, only in enumerate((True, False)):
        job, _ = train(base, data, name=f"n{number}", training={"max_steps": 3, "completion_only_loss": only})
        counts.append(lines(job, "metrics.jsonl")[-1]["loss_tokens"])
    assert counts[0] < counts[1]


def test_warm_up_and_schedule(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    training = {"max_steps": 8, "warmup_steps": 4, "lr_scheduler_type": "linear", "learning_rate": 1e-3}
    job, _ = train(base, data, training=training)
    rates = [line["learning_rate"] for line in lines(job, "metrics.jsonl")]
    assert rates == pytest.approx([0, 0.25e-3, 0.5e-3, 0.75e-3, 1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


def test_clipping_bounds_the_update_and_reports_the_norm_before(tmp_path: Path, data: Path) -> None:
    from finetui.core.runs.spec import TrainRequest
    from finetui.core.worker.train import prepare

    base = tiny_model(tmp_path / "base", "llama")
    job = make_job(base, data, training={"max_grad_norm": 0.01, "max_steps": 1})
    loop = prepare(job, job.request(TrainRequest))
    batches = loop.batches_of(0)
    loop.model.train()
    for batch in batches:
        loop.backward(batch, sum(len(each.targets) for each in batches))
    norm = loop.optimizer_step()
    clipped = torch.stack([p.grad.norm() for p in loop.model.parameters() if p.grad is not None]).norm().item()
    assert norm > 0.05
    assert clipped == pytest.approx(0.01, rel=1e-3)


def test_early_stopping_and_the_best_weights(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    data = write_rows(tmp_path / "train.jsonl", ROWS[:3])
    other = write_rows(tmp_path / "eval.jsonl", [{"instruction": "Name 77.", "input": "", "output": "xylophone 88 zebra QQQ"}], times=1)
    training = {"max_steps": 200, "eval_steps": 5, "early_stopping_patience": 2, "learning_rate": 5e-2, "save_total_limit": 1}
    job, result = train(base, data, "full", eval_data=[str(other)], training=training)
    evaluations = [line for line in lines(job, "metrics.jsonl") if "eval_loss" in line]
    best = min(evaluations, key=lambda line: line["eval_loss"])
    assert result["steps"] < 200
    assert evaluations[-1]["step"] == best["step"] + 10
    assert result["eval"]["step"] == best["step"]
    assert any(event["kind"] == "early_stop" for event in lines(job, "events.jsonl"))
    kept = load_file(job.checkpoints / f"step-{best['step']:08d}" / "trainable.safetensors")
    published = load_file(Path(result["adapter"]) / "model.safetensors")
    assert all(torch.equal(published[name], kept[name]) for name in published)
    assert len(list(job.checkpoints.iterdir())) <= 2


def test_an_evaluation_that_is_not_a_number_is_never_the_best(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = iter([math.nan, 2.0, math.inf])
    monkeypatch.setattr("finetui.core.worker.loop.total_loss", lambda *arguments: (next(measured), 1))
    base = tiny_model(tmp_path / "base", "llama")
    job, result = train(base, data, eval_split=0.25, training={"max_steps": 6, "eval_steps": 2})
    assert result["eval"] == {"step": 4, "loss": 2.0, "perplexity": pytest.approx(math.exp(2.0)), "tokens": 1}


def test_packing_that_is_not_possible_is_said(tmp_path: Path, data: Path) -> None:
    job, _ = train(tiny_model(tmp_path / "base", "falcon"), data, training={"max_steps": 1})
    assert [event["message"] for event in lines(job, "events.jsonl") if event["kind"] == "warning" and "Falcon" in event["message"]]


def test_the_split_is_the_same_for_a_seed_and_leaves_something_to_train_on() -> None:
    held_out = split(20, 0.25, 7).tolist()
    assert (len(held_out), sum(held_out)) == (20, 5)
    assert split(20, 0.25, 7).tolist() == held_out != split(20, 0.25, 8).tolist()
    assert not split(3, 0.1, 0).any()
    assert not split(2, 0.9, 0).all()


def test_one_row_trains_without_evaluation(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "one.jsonl", ROWS[:1], times=1)
    job, result = train(tiny_model(tmp_path / "base", "gpt2"), data, eval_split=0.5, training={"max_steps": 3})
    assert result["eval"] == {}
    assert len(losses(job)) == 3


def test_plain_text_trains_on_every_token(tmp_path: Path) -> None:
    data = tmp_path / "book.txt"
    data.write_text("The quick brown fox jumps over the lazy dog.\n\nWhen it rains, people take an umbrella and walk.\n" * 4)
    job, _ = train(tiny_model(tmp_path / "base", "llama"), data, training={"sample_prompts": ["The quick"], "sample_max_new_tokens": 4})
    last = lines(job, "metrics.jsonl")[-1]
    assert losses(job)[-1] < losses(job)[0]
    assert last["loss_tokens"] > 0.9 * last["tokens"]


def test_divergence_fails_with_advice_and_keeps_the_checkpoint(tmp_path: Path, data: Path) -> None:
    training = {"learning_rate": 1e30, "max_grad_norm": 0, "save_steps": 1, "warmup_steps": 0, "lr_scheduler_type": "constant"}
    job = make_job(tiny_model(tmp_path / "base", "llama"), data, "full", training=training)
    with pytest.raises(WorkFailed, match="diverged") as problem:
        main(job)
    assert "learning_rate" in problem.value.hint
    assert list(job.checkpoints.iterdir())
    (event,) = [event for event in lines(job, "events.jsonl") if event["kind"] == "diverging"]
    assert event["data"]["step"] == len(losses(job)) + 1 and event["data"]["value"] is None
    assert not list((tmp_path / "home" / "models").iterdir())


def test_a_taken_name_is_refused_before_any_work(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    train(base, data, training={"max_steps": 1})
    with pytest.raises(NameTaken):
        main(make_job(base, data))


def test_data_without_an_answer_is_refused(tmp_path: Path) -> None:
    data = write_rows(tmp_path / "rows.jsonl", [{"instruction": "word " * 400, "input": "", "output": "x"}])
    with pytest.raises(DataError, match="max_length"):
        main(make_job(tiny_model(tmp_path / "base", "llama"), data, training={"max_length": 16}))


def test_over_fitting_is_reported_and_can_end_the_run(tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    rows = write_rows(tmp_path / "rows.jsonl", times=1)
    other = [{"instruction": row["output"], "input": "", "output": row["instruction"]} for row in ROWS]  # to be got wrong ever more surely
    held_out = write_rows(tmp_path / "other.jsonl", other, times=1)
    training = {"max_steps": 200, "eval_steps": 5, "learning_rate": 1e-2, "overfitting_patience": 2, "lr_scheduler_type": "constant"}
    job, result = train(base, rows, "full", eval_data=[str(held_out)], training={**training, "stop_on_overfitting": True})
    (event,) = [event for event in lines(job, "events.jsonl") if event["kind"] == "overfitting"]
    figures = event["data"]
    assert figures["eval_loss"] > figures["eval_loss_before"] and figures["loss"] < figures["loss_before"]
    assert result["steps"] == figures["step"] < 200
    assert [event["message"] for event in lines(job, "events.jsonl") if event["kind"] == "early_stop"] == ["over-fitting"]
    job, result = train(base, rows, "full", name="on", eval_data=[str(held_out)], training={**training, "max_steps": figures["step"] + 5})
    assert result["steps"] == figures["step"] + 5
    assert len([event for event in lines(job, "events.jsonl") if event["kind"] == "overfitting"]) == 1


@pytest.mark.parametrize("family", ["llama", "falcon", "gpt2"])
def test_dropout_is_the_trainings_not_the_models(tmp_path: Path, data: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    training = {"max_steps": 1, "learning_rate": 0.0, "packing": family != "falcon"}
    (plain,), (dropped,) = (
        losses(train(base, data, "full", name=name, training={**training, **more})[0])
        for name, more in (("plain", {"dropout": 0.0}), ("dropped", {"dropout": 0.5}))
    )
    assert plain != dropped
    before, after = (json.loads((folder / "config.json").read_text()) for folder in (base, find_home().models / "dropped"))
    assert {name: value for name, value in after.items() if "drop" in name} == {
        name: value for name, value in before.items() if "drop" in name
    }
