"""The task seq-cls from rows to verdicts: training, evaluation, swapping, merging, and what plain transformers and PEFT make of it."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.catalog.manifest import read_manifest
from finetui.core.errors import DataError, Incompatible, UsageError
from finetui.core.inference import Playground
from finetui.core.paths import find_home
from finetui.core.runs.job import Job, Stopped
from finetui.core.runs.requests import evaluate_request, merge_request, train_request
from finetui.core.worker.batches import collate, in_batches
from finetui.core.worker.classify import AS_STORED, classify, encode_text, score_classes
from finetui.core.worker.engine import Engine
from finetui.core.worker.forward import class_logits
from finetui.core.worker.loading import load_tokenizer
from finetui.core.worker.rendering import ChatRenderer
from finetui.core.worker.train import main
from safetensors.torch import load_file
from support.labelled import labelled_rows, write_labelled
from support.models import ARCHITECTURES, tiny_model
from support.training import lines, losses, make_job, run_here, train

TASK: dict[str, Any] = {"task": "seq-cls", "eval_split": 0.25}
LABELS = ["code", "fox", "health"]

SLICE = ("qwen2", "falcon", "bert")
"""Architectures that the short test run tries."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_labelled(tmp_path / "rows.jsonl")


def encoded(base: Path, rows: list[dict[str, Any]]) -> list[Any]:
    renderer = ChatRenderer(load_tokenizer(base))
    return [encode_text(renderer, row["text"], 512) for row in rows]


@pytest.mark.parametrize("family", [pytest.param(family, marks=() if family in SLICE else pytest.mark.matrix) for family in ARCHITECTURES])
def test_every_architecture_learns_and_batches_say_what_single_rows_say(tmp_path: Path, data: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    method, rate = ("full", 3e-3) if family == "bert" else ("lora", 5e-3)  # a random BERT hardly moves by low ranks
    training = {"max_steps": 30, "per_device_train_batch_size": 8, "learning_rate": rate, "sample_prompts": ["the lazy dog"]}
    job, result = train(base, data, method, **TASK, training=training)
    assert losses(job)[-1] < losses(job)[0] - 0.3
    assert result["labels"] == LABELS and result["eval"]["accuracy"] > 0.6 and result["eval"]["rows"] == 6
    (evaluation, *_) = [line for line in lines(job, "metrics.jsonl") if "eval_loss" in line]
    assert {"eval_accuracy", "eval_f1", "eval_tokens"} <= evaluation.keys() and "eval_perplexity" not in evaluation
    sample = [event["data"]["text"] for event in lines(job, "events.jsonl") if event["kind"] == "sample"][-1]
    assert sample.rpartition(" (")[0] in LABELS

    engine = Engine(base, device="cpu", task="seq-cls")
    engine.add("a", Path(result["adapter"]))
    engine.activate("a")
    rows = encoded(base, labelled_rows(10))
    pad_id = engine.tokenizer.pad_token_id
    with torch.no_grad():
        one_by_one = [class_logits(engine.model, collate([row], packed=False, pad_id=pad_id, device=engine.device)[0]) for row in rows]
        wide = max(len(row.input_ids) for row in rows)
        mask = torch.tensor([[1] * len(row.input_ids) + [0] * (wide - len(row.input_ids)) for row in rows])
        ids = torch.tensor([row.input_ids + [pad_id] * (wide - len(row.input_ids)) for row in rows])
        together = engine.model(input_ids=ids, attention_mask=mask).logits
    torch.testing.assert_close(together, torch.cat(one_by_one), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("method", ["prompt_tuning", "p_tuning"])
def test_virtual_tokens_leave_long_texts_less_of_the_context(tmp_path: Path, method: str) -> None:
    base, data = tiny_model(tmp_path / "base", "bert"), tmp_path / "long.jsonl"
    write_labelled(data, [{**row, "text": f"{row['text']} " * 200} for row in labelled_rows(12)])
    _, result = train(base, data, method, **TASK, training={"max_steps": 2})
    request = evaluate_request(find_home(), model=str(base), adapters=[result["adapter"]], data=[data], gpus="none")
    assert [row["max_length"] for row in run_here("evaluate", request)["rows"]] == [512 - 20, 512 - 20]
    engine = Engine(base, device="cpu", task="seq-cls")
    engine.add("a", Path(result["adapter"]))
    assert classify(engine, "the lazy dog " * 400, "a").prompt_tokens == 512 - 20


def test_every_method_starts_from_the_same_head(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "bert", dtype=torch.bfloat16)
    first = {
        method: losses(train(base, data, method, name=method, task="seq-cls", training={"max_steps": 1})[0])[0]
        for method in ("lora", "full", "top_layers")
    }
    assert len(set(first.values())) == 1
    other, _ = train(base, data, name="other", task="seq-cls", seed=1, training={"max_steps": 1})
    assert losses(other)[0] not in first.values()


@pytest.mark.parametrize(("family", "method"), [("qwen2", "full"), ("bert", "lora")])
def test_a_resumed_run_is_bitwise_an_undisturbed_one(tmp_path: Path, data: Path, family: str, method: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    options = {**TASK, "training": {"max_steps": 6, "save_steps": 2}}
    whole, expected = train(base, data, method, name="whole", **options)
    job = make_job(base, data, method, name="stopped", **options)
    progress = job.progress

    def stop_after_three(done: int, total: int, unit: str) -> None:
        progress(done, total, unit)
        if done == 3:
            (job.dir / "control" / "stop").touch()

    job.progress = stop_after_three  # type: ignore[method-assign]
    with pytest.raises(Stopped):
        main(job)
    job.close()
    (job.dir / "control" / "stop").unlink()
    again = Job(job.dir)
    got = main(again)
    again.close()
    assert losses(again) == losses(whole) and got["eval"] == expected["eval"]
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    before, after = (load_file(Path(each["adapter"]) / name) for each in (expected, got))
    assert before.keys() == after.keys() and all(torch.equal(tensor, after[key]) for key, tensor in before.items())


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_a_new_process_and_plain_libraries_agree_with_us(tmp_path: Path, data: Path, family: str) -> None:
    base = tiny_model(tmp_path / "base", family)
    _, result = train(base, data, **TASK, training={"max_steps": 12, "learning_rate": 1e-2})
    adapter = Path(result["adapter"])
    manifest = read_manifest(adapter)
    assert manifest is not None and (manifest.task, manifest.labels) == ("seq-cls", LABELS)
    assert manifest.metrics["accuracy"] == result["eval"]["accuracy"] and "perplexity" not in manifest.metrics

    engine = Engine(base, device="cpu", task="seq-cls")
    engine.add("a", adapter)
    engine.activate("a")
    rows = labelled_rows()
    with torch.no_grad():
        ours = [engine.model(input_ids=torch.tensor([row.input_ids])).logits[0].tolist() for row in encoded(base, rows)]
    program = (
        "import sys, json, torch; from peft import PeftModel\n"
        "from transformers import AutoModelForSequenceClassification as Auto, AutoTokenizer\n"
        "base, adapter, rows, count = sys.argv[1:]\n"
        "model = PeftModel.from_pretrained(Auto.from_pretrained(base, num_labels=int(count)), adapter).eval()\n"
        "tokenizer = AutoTokenizer.from_pretrained(base)\n"
        "texts = [json.loads(line)['text'] for line in open(rows)]\n"
        "with torch.no_grad(): logits = [model(**tokenizer(text, return_tensors='pt')).logits[0].tolist() for text in texts]\n"
        "print(json.dumps(logits))"
    )
    command = [sys.executable, "-c", program, str(base), str(adapter), str(data), str(len(LABELS))]
    theirs = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert theirs == ours

    request = evaluate_request(find_home(), model=str(base), adapters=[str(adapter)], data=[data], gpus="none")
    untouched, trained = run_here("evaluate", request)["rows"]
    right = sum(LABELS[max(range(3), key=row.__getitem__)] == wanted["label"] for row, wanted in zip(theirs, rows))
    assert trained["accuracy"] == right / len(rows) and trained["perplexity"] is None and trained["f1"] > 0
    assert [untouched[key] for key in ("loss", "accuracy", "f1", "perplexity")] == [None] * 4
    assert "no trained classifier" in untouched["note"]


def test_adapters_of_different_classes_and_kinds_take_turns_on_one_base(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "bert")
    numbers = write_labelled(tmp_path / "numbers.jsonl", labelled_rows(names=(10, 9)))
    trained = {
        f"{method}-{name}": Path(
            train(base, rows, method, name=f"{method}-{name}", task="seq-cls", training={"max_steps": 3})[1]["adapter"]
        )
        for method in ("lora", "top_layers", "full")
        for name, rows in (("words", data), ("numbers", numbers))
    }
    engine = Engine(base, device="cpu", task="seq-cls")
    before = {name: tensor.clone() for name, tensor in engine.base.state_dict().items()}
    for name, path in trained.items():
        engine.add(name, path)
    first = {name: classify(engine, "The quick brown fox", name) for name in trained}
    again = {name: classify(engine, "The quick brown fox", name) for name in reversed(trained)}
    for name, verdict in first.items():
        assert sorted(verdict.scores, key=len) == sorted(["9", "10"] if name.endswith("numbers") else LABELS, key=len)
        assert verdict.scores == again[name].scores and verdict.text == verdict.label == next(iter(verdict.scores))
    engine.activate(None)
    assert all(torch.equal(tensor, before[name]) for name, tensor in engine.base.state_dict().items())
    with pytest.raises(UsageError, match="alone is no classifier"):
        classify(engine, "x")


def test_playground_answers_with_the_label_and_keeps_tasks_apart(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    _, labelled = train(base, data, name="labels", task="seq-cls", training={"max_steps": 24, "learning_rate": 5e-3})
    _, writing = train(base, data, name="writes", training={"max_steps": 1})
    with Playground(find_home(), str(base), [labelled["adapter"]], gpus="none") as playground:
        answer = playground.generate(labelled_rows()[2]["text"], adapter="labels")
        assert (answer.text, answer.label) == ("code", "code") and answer.score is not None and 0.3 < answer.score <= 1
        with pytest.raises(Incompatible, match="'writes' writes text, but the base is loaded to be one that classifies"):
            playground.add(writing["adapter"])
    with pytest.raises(Incompatible, match="different tasks"):
        evaluate_request(find_home(), model=str(base), adapters=[labelled["adapter"], writing["adapter"]], data=[data])


@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_merging_gives_an_ordinary_classifier(tmp_path: Path, data: Path, family: str) -> None:
    from transformers import AutoModelForSequenceClassification

    base = tiny_model(tmp_path / "base", family)
    _, result = train(base, data, task="seq-cls", training={"max_steps": 12, "learning_rate": 1e-2})
    out = tmp_path / "merged"
    request = merge_request(find_home(), model=str(base), adapter=result["adapter"], out=out, verify=True, gpus="none")
    assert run_here("merge", request)["verified"]["max_rel_diff"] < 1e-5
    merged = AutoModelForSequenceClassification.from_pretrained(out)
    assert merged.config.id2label == dict(enumerate(LABELS))
    (alone,) = run_here("evaluate", evaluate_request(find_home(), model=str(out), data=[data], gpus="none"))["rows"]
    request = evaluate_request(find_home(), model=str(base), adapters=[result["adapter"]], data=[data], gpus="none")
    assert alone["accuracy"] == run_here("evaluate", request)["rows"][1]["accuracy"]
    with pytest.raises(Incompatible, match="train it with --task seq-cls"):
        train_request(find_home(), model=str(out), data=[data], method="lora", task="causal-lm", gpus="none")


def test_a_classifier_is_trained_on_from_its_own_head_or_gets_one_for_other_classes(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    first, result = train(base, data, "full", name="first", task="seq-cls", training={"max_steps": 16, "learning_rate": 2e-3})
    going_on, _ = train(Path(result["adapter"]), data, name="second", task="seq-cls", training={"max_steps": 1})
    assert losses(going_on)[0] < losses(first)[0] / 2
    two = write_labelled(tmp_path / "two.jsonl", labelled_rows(names=("a", "b")))
    _, other = train(Path(result["adapter"]), two, "top_layers", name="third", task="seq-cls", training={"max_steps": 1})
    assert other["labels"] == ["a", "b"]


def refuse(base: Path, rows: Path, says: str, **more: Any) -> None:
    with pytest.raises(DataError) as refused:
        train_request(find_home().create(), model=str(base), data=[rows], method="lora", task="seq-cls", gpus="none", **more)
    assert says in refused.value.message, refused.value.message


def test_rows_that_cannot_be_learned_are_refused_with_their_line(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "qwen2")
    rows = labelled_rows(6)
    strange = write_labelled(tmp_path / "strange.jsonl", [*rows, {"text": "x", "label": "foxes"}])
    refuse(base, data, f"{strange}:7: the label 'foxes' is not one of the training data", eval_data=[strange])
    for row, says in [
        ({"text": "x"}, "column 'label' has no label"),
        ({"text": "x", "label": None}, "column 'label' has no label"),
        ({"text": "x", "label": 0.5}, "the label is the number 0.5"),
        ({"text": "x", "label": ["a"]}, "the label is a list"),
        ({"text": " ", "label": "fox"}, "column 'text' is empty"),
    ]:
        bad = write_labelled(tmp_path / "bad.jsonl", [*rows, row])
        refuse(base, bad, f"{bad}:7: {says}")
    one = write_labelled(tmp_path / "one.jsonl", rows[:1] * 3)
    refuse(base, one, f"every row, from {one}:1 on, has the label 'health'")
    refuse(base, write_labelled(tmp_path / "none.jsonl", [{"text": "x"}]), "the shape of the data is not known; its columns: text")


def test_task_and_classes_follow_from_model_and_columns(tmp_path: Path) -> None:
    home = find_home().create()
    decoder, encoder = (str(tiny_model(tmp_path / family, family)) for family in ("qwen2", "bert"))
    rows = write_labelled(tmp_path / "rows.jsonl", [{"review": row["text"], "stars": n % 3 * 5} for n, row in enumerate(labelled_rows())])
    asked: dict[str, Any] = {"data": [rows], "method": "lora", "gpus": "none"}
    renamed = train_request(home, model=decoder, columns={"text": "review", "label": "stars"}, **asked)
    assert (renamed.task, renamed.labels) == ("seq-cls", ["0", "5", "10"])
    plain = write_labelled(tmp_path / "plain.jsonl")
    assert train_request(home, model=encoder, **{**asked, "data": [plain]}).task == "seq-cls"
    assert train_request(home, model=decoder, **{**asked, "data": [plain]}).task == "causal-lm"


def test_figures_do_not_depend_on_the_batch_size(tmp_path: Path, data: Path) -> None:
    base = tiny_model(tmp_path / "base", "gpt2")
    _, result = train(base, data, task="seq-cls", training={"max_steps": 3})
    engine = Engine(base, device="cpu", task="seq-cls")
    engine.add("a", Path(result["adapter"]))
    engine.activate("a")
    rows = [replace(row, label=number % 3) for number, row in enumerate(encoded(base, labelled_rows()))]
    found = [
        score_classes(engine.model, in_batches(rows, size, packed=False, pad_id=1, device=engine.device), AS_STORED) for size in (1, 7, 24)
    ]
    for other in found[1:]:
        assert (other.accuracy, other.f1, other.tokens, other.rows) == (found[0].accuracy, found[0].f1, found[0].tokens, 24)
        assert other.loss == pytest.approx(found[0].loss, rel=1e-5)


def test_the_base_alone_has_a_row_without_figures_and_is_timed(tmp_path: Path, data: Path) -> None:
    """As ``eval`` writes it: a base without a trained classifier is no failure."""
    from finetui.core.runs.spec import EvaluateRequest
    from support.workerjobs import succeed

    base = tiny_model(tmp_path / "base", "bert")
    asked = EvaluateRequest(model="base", model_path=str(base), data=[str(data)], task="seq-cls", speed_tokens=2, gpus="none")
    [row] = succeed("evaluate", asked)["rows"]
    assert (row["loss"], row["accuracy"], row["f1"]) == (None, None, None)
    assert row["tokens"] > 0 and row["rows_per_second"] > 0 and row["speed_vs_base"] == pytest.approx(1.0)
