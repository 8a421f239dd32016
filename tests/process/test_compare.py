"""``finetui compare`` for real: two methods and one refusal on a tiny model, the table, its exports, and what the lists say."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from finetui.core.paths import find_home
from support.cli import finetui, ok, refused
from support.models import tiny_model
from support.training import write_rows


def test_a_comparison_from_the_command_line(tmp_path: Path) -> None:
    model, data = tiny_model(tmp_path / "tiny", "llama"), write_rows(tmp_path / "data.jsonl", times=4)
    report = tmp_path / "report.csv"
    table = ok(
        "compare", "--model", model, "--data", data, "--methods", "lora,full", "--name", "c", "--gpus", "none", "--export", report,
        "--eval-split", 0.25, "--set", "max_steps=4", "--set", "bf16=false", "--set", "lora:r=2",
    )  # fmt: skip
    base, lora, full = table["rows"]
    assert [row["method"] for row in table["rows"]] == ["base", "lora", "full"]
    assert base["trainable_parameters"] == 0 and base["speed_vs_base"] == pytest.approx(1.0)
    for row in (lora, full):
        shown = ok("runs", "show", row["runs"][0])
        assert (shown["parent"], shown["state"], shown["steps"]) == (table["run"], "succeeded", 4)
        assert row["trainable_parameters"] == shown["trainable_parameters"]
        assert row["trainable_share"] == pytest.approx(shown["trainable_parameters"] / shown["total_parameters"])
        for figure in (
            "tokens_per_second",
            "generate_tokens_per_second",
            "peak_memory_bytes",
            "planned_memory_bytes",
            "seconds",
            "adapter_bytes",
        ):
            assert row[figure] > 0, figure
        # The rows held out are those that training evaluated on, and the same weights give the same loss on them.
        assert row["loss"] == pytest.approx(shown["eval"]["loss"], abs=2e-3)
    assert lora["adapters"] == [str(find_home().adapters / "c-lora")] and full["trainable_share"] == 1.0
    separately = ok("eval", "--model", model, "--adapter", "c-lora", "--data", data, "--gpus", "none")
    assert separately[0]["loss"] != base["loss"], "all rows are not the held-out ones"
    assert [line["method"] for line in csv.DictReader(report.read_text().splitlines())] == ["base", "lora", "full"]

    again = ok("runs", "compare", table["run"])
    assert again["rows"] == table["rows"]
    past = ok("runs", "compare", "c-lora", "c-full")
    assert [row["label"] for row in past["rows"]] == ["c-lora", "c-full"] and past["run"] is None
    words = finetui("runs", "compare", "c").out
    assert "eval loss" in words and "lora: learning_rate 0.0002, r 2" in words
    lines = [line.strip() for line in finetui("runs", "list").out.splitlines() if "c" in line]
    assert [" c " in line or "  c-" in line for line in lines[1:]].count(True) == 4
    refused("compare", "--model", model, "--data", data, "--methods", "lora", "--name", "c", code=4, says="is taken")
    refused("compare", "--model", model, "--data", data, "--methods", "lora", "--detach", "--export", report, code=2, says="later")
    assert json.loads(json.dumps(table))["evaluated_on"].startswith("25%")
