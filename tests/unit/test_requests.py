"""What an evaluation request takes over, and what it does not."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.core.catalog.manifest import Manifest, write_manifest
from finetui.core.paths import Home
from finetui.core.runs.planning import devices_for
from finetui.core.runs.requests import evaluate_request
from finetui.core.runs.spec import EvaluateRequest
from support.folders import make_adapter, make_model
from support.gpus import eight_gpus


@pytest.fixture
def home(tmp_path: Path) -> Home:
    home = Home(tmp_path / "home").create()
    base = make_model(home.models / "base")
    (base / "tokenizer.json").write_text("{}")
    for name, options in (("short", {"max_length": 32, "system_prompt": "Arr."}), ("long", {"max_length": 48, "system_prompt": "Arr."})):
        folder = make_adapter(home.adapters / name, base)
        write_manifest(folder, Manifest(method="lora", run="01", objective="sft", training_options=options))
    make_adapter(home.adapters / "foreign", base)
    (tmp_path / "rows.jsonl").write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n")
    return home


def request(home: Home, *adapters: str, **more: Any) -> EvaluateRequest:
    return evaluate_request(home, model="base", adapters=adapters, data=[home.root.parent / "rows.jsonl"], gpus="none", **more)


def test_how_rows_are_read_does_not_depend_on_the_adapters(home: Home) -> None:
    """The figures of two evaluations can be compared, and are those of what ``data preview`` shows."""
    for adapters in ((), ("short",), ("short", "long"), ("foreign",)):
        plain = request(home, *adapters)
        assert (plain.max_length, plain.system_prompt, plain.loss_on, plain.objective) == (1024, "", "assistant", "")


def test_what_the_user_says_counts(home: Home) -> None:
    asked = request(home, "short", settings={"max_length": 40, "system_prompt": "Arr."}, objective="text")
    assert (asked.max_length, asked.system_prompt, asked.objective) == (40, "Arr.", "text")


def test_of_several_named_gpus_the_smallest_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them holds a copy of the model."""
    with eight_gpus(tmp_path, monkeypatch):
        assert [len(devices_for(gpus)) for gpus in ("auto", "5,1", "3", "none")] == [8, 1, 1, 1]
