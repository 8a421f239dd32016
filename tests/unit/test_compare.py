"""What a comparison is asked for, and how its table is written."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path
from typing import Any

import pytest
from finetui.core.compare.asking import Question, compare_request, divide_settings, read_methods
from finetui.core.compare.columns import COLUMNS, best_rows, cell, columns_of, differing_options
from finetui.core.compare.export import check_target, export
from finetui.core.compare.past import runs_table
from finetui.core.compare.table import blank_row
from finetui.core.embedded import BASE_MODEL_NAME, dataset
from finetui.core.errors import NameTaken, NotFound, UsageError
from finetui.core.paths import Home
from finetui.core.runs.spec import MergeRequest
from finetui.core.runs.store import RunStore
from support.models import tiny_model
from support.tui import make_run


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def question(**changes: Any) -> Question:
    return Question(**{"model": BASE_MODEL_NAME, "data": [dataset("pirate")], "methods": ["lora", "full"], "gpus": "none", **changes})


def test_entries_differ_in_method_and_seed_only(home: Home) -> None:
    settings = {"max_steps": 5, "r": 4, "full:learning_rate": 1e-5}
    name, request = compare_request(home, question(name="c", seeds=2, seed=7, settings=settings))
    assert name == "c"
    assert [entry.name for entry in request.entries] == ["c-lora-s7", "c-lora-s8", "c-full-s7", "c-full-s8"]
    assert [(entry.label, entry.seed) for entry in request.entries] == [("lora", 7), ("lora", 8), ("full", 7), ("full", 8)]
    asked = [entry.request for entry in request.entries]
    assert [Path(one["output"]).name for one in asked] == [entry.name for entry in request.entries]
    assert {one["split_seed"] for one in asked} == {7}, "all seeds are evaluated on the same rows"
    assert {one["options"]["max_steps"] for one in asked} == {5}
    assert [one["options"]["learning_rate"] for one in asked] == [2e-4, 2e-4, 1e-5, 1e-5]
    assert [one["method_options"] for one in asked] == [{"r": 4}, {"r": 4}, {}, {}]
    evaluation = request.evaluation
    assert (evaluation["held_out"], evaluation["split_seed"], evaluation["adapters"]) == (0.1, 7, [])
    _, given = compare_request(home, question(eval_data=[dataset("pirate_eval")]))
    assert (given.evaluation["held_out"], given.evaluation["data"]) == (0.0, [str(dataset("pirate_eval"))])


def test_an_encoder_is_compared_as_a_classifier(home: Home, tmp_path: Path) -> None:
    """Nobody says ``--task`` for BERT: there is only one that it can do."""
    rows = tmp_path / "rows.jsonl"
    rows.write_text("".join(json.dumps({"text": f"row {i}", "label": ("a", "b")[i % 2]}) + "\n" for i in range(8)))
    _, request = compare_request(home, question(model=str(tiny_model(tmp_path / "bert", "bert")), data=[rows], methods=["lora"]))
    assert (request.task, request.entries[0].request["task"], request.evaluation["task"]) == ("seq-cls",) * 3


def test_labels_take_one_method_several_times() -> None:
    assert read_methods(["lora", " big=lora "]) == {"lora": "lora", "big": "lora"}
    with pytest.raises(UsageError, match="named twice"):
        read_methods(["lora", "lora"])
    with pytest.raises(UsageError, match="no method"):
        read_methods([])
    with pytest.raises(NotFound, match="unknown method 'lorra'"):
        read_methods(["lorra"])


def test_settings_go_where_they_are_known() -> None:
    labels = {"lora": "lora", "big": "lora", "full": "full"}
    divided = divide_settings(labels, {"big:r": 64, "r": 8, "max_steps": 3})
    assert divided == {"lora": {"r": 8, "max_steps": 3}, "big": {"r": 64, "max_steps": 3}, "full": {"max_steps": 3}}
    with pytest.raises(UsageError, match="no method of this comparison has an option 'rr'"):
        divide_settings(labels, {"rr": 1})
    with pytest.raises(UsageError, match="'qlora' is not in --methods"):
        divide_settings(labels, {"qlora:r": 1})


def test_what_would_fail_for_all_is_refused(home: Home) -> None:
    for wrong, kind, says in (
        ({"seeds": 0}, UsageError, "--seeds"),
        ({"eval_split": 0.0}, UsageError, "nothing to compare on"),
        ({"settings": {"full:r": 3}}, UsageError, "unknown option 'r' of method 'full'"),
        ({"data": ["nowhere.jsonl"]}, NotFound, "no such file"),
        ({"model": "nothing"}, NotFound, "nothing"),
    ):
        with pytest.raises(kind, match=says):
            compare_request(home, question(**wrong))


def test_names_are_found_or_refused(home: Home) -> None:
    (home.adapters / f"{BASE_MODEL_NAME}-compare-lora").mkdir()
    assert compare_request(home, question())[0] == f"{BASE_MODEL_NAME}-compare-2"
    with pytest.raises(NameTaken, match="-compare-lora' is taken"):
        compare_request(home, question(name=f"{BASE_MODEL_NAME}-compare"))


def test_a_method_that_does_not_fit_becomes_an_entry(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetui.core.errors import DoesNotFit
    from finetui.core.runs import requests

    planned = requests._fitting_plan

    def fitting_plan(model: Any, method: str, *rest: Any) -> Any:
        if method == "full":
            raise DoesNotFit("full needs 139 GB", "take lora")
        return planned(model, method, *rest)

    monkeypatch.setattr(requests, "_fitting_plan", fitting_plan)
    _, request = compare_request(home, question())
    assert [(entry.label, bool(entry.request), (entry.error or {}).get("kind")) for entry in request.entries] == [
        ("lora", True, None), ("full", False, "does_not_fit"),
    ]  # fmt: skip
    with pytest.raises(DoesNotFit):
        compare_request(home, question(methods=["full"]))


def row(label: str, **figures: Any) -> dict[str, Any]:
    return {**blank_row(), "method": label, "label": label, "state": "succeeded", **figures}


TABLE: dict[str, Any] = {
    "run": "R", "name": "c", "state": "succeeded", "model": "m", "task": "causal-lm", "data": ["/d/x.jsonl"], "evaluated_on": "10%",
    "seeds": [0, 1],
    "rows": [
        {**row("base", loss=3.0, trainable_parameters=0), "state": "evaluated"},
        row(
            "lora", loss=2.0, spread={"loss": 0.1, "seconds": 1.0}, seconds=10.0, trainable_parameters=1_234_567, adapter_bytes=1_500_000,
            options={"r": 16, "lr": 1e-3}, changed=["lr"], merges=True,
        ),
        row("a|b", loss=1.5, seconds=5.0, error={"message": "slow"}, options={"lr": 1e-4}, changed=[], note="note", merges=False),
        row("c", note="note", state="failed", error={"message": "out of memory"}),
    ],
}  # fmt: skip


def test_cells_have_units_and_spread() -> None:
    by = {column.key: column for column in COLUMNS}
    lora = TABLE["rows"][1]
    written = {key: cell(lora, by[key]) for key in ("loss", "seconds", "trainable_parameters", "adapter_bytes", "merges", "accuracy")}
    assert written == {
        "loss": "2.000 ±0.100", "seconds": "10.0 s ±10 %", "trainable_parameters": "1.2 M", "adapter_bytes": "1.5 MB", "merges": "yes",
        "accuracy": "",
    }  # fmt: skip
    keys = [column.key for column in columns_of(TABLE["rows"])]
    assert keys[:3] == ["label", "state", "loss"] and "accuracy" not in keys
    assert "state" not in [column.key for column in columns_of(TABLE["rows"][:2])]
    assert best_rows(TABLE["rows"], by["loss"]) == {2}, "the base does not compete"
    assert cell(row("x", perplexity=math.inf), by["perplexity"]) == "inf"


def test_options_that_differ() -> None:
    assert differing_options(TABLE["rows"]) == ["lr"], "r is lora's own and at its default"
    changed = [row("lora", options={"r": 4}, changed=["r"]), row("full", options={})]
    assert differing_options(changed) == []
    assert differing_options([*changed, row("x", options={"k": 1})]) == ["r"]


def test_exports(tmp_path: Path) -> None:
    text = export(TABLE, tmp_path / "t.md").read_text()
    assert "| lora | succeeded | 2.000 ±0.100 |" in text and "**1.500**" in text and "a\\|b" in text
    assert "- c: out of memory" in text and "- a|b, c: note" in text and "evaluated on: 10%" in text
    lines = list(csv.DictReader(export(TABLE, tmp_path / "t.CSV").read_text().splitlines()))
    assert [line["method"] for line in lines] == ["base", "lora", "a|b", "c"]
    assert (lines[1]["loss"], lines[1]["loss_spread"], lines[1]["accuracy"], lines[3]["error"]) == ("2.0", "0.1", "", "out of memory")
    assert [line["option.lr"] for line in lines] == ["", "0.001", "0.0001", ""] and "option.r" not in lines[0]
    assert json.loads(export(TABLE, tmp_path / "t.json").read_text()) == json.loads(json.dumps(TABLE))
    with pytest.raises(UsageError, match="by its ending"):
        check_target(tmp_path / "t.xlsx")
    with pytest.raises(NotFound, match="no such folder"):
        check_target(tmp_path / "not" / "t.md")


def test_past_runs_in_one_table(home: Home) -> None:
    store = RunStore(home)
    first, second = (
        make_run(home.root, "one"),
        make_run(home.root, "two", "failed", steps=30, error={"kind": "x", "message": "no", "hint": ""}),
    )
    table = runs_table(store, [first, second])
    one, two = table["rows"]
    assert (one["loss"], one["steps"], one["trainable_share"], one["perplexity"]) == (1.5, 100, 0.02, math.exp(1.5))
    assert two["error"]["message"] == "no" and two["steps"] == 30
    assert table["evaluated_on"].endswith("on the same rows") and differing_options(table["rows"]) == []
    with pytest.raises(UsageError, match="no run"):
        runs_table(store, [])
    merge = store.create("merge", "m", MergeRequest(model="m", model_path="/m", base_model_name_or_path="m", adapter="/a", output="/o"))
    with pytest.raises(UsageError, match="is a merge run"):
        runs_table(store, [first, merge])
