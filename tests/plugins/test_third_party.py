"""A method from a separately installed package: listed, in the form's options, and trained for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.cli import finetui, ok, refused, wait
from support.models import tiny_model

PACKAGE = Path(__file__).parent / "example_package"
ROWS = '{"prompt": "ping", "response": "pong"}\n' * 12


@pytest.fixture(scope="session")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The example package built and installed into a folder of its own."""
    import shutil

    source = tmp_path_factory.mktemp("source") / "example"
    shutil.copytree(PACKAGE, source)
    target = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--target", str(target), str(source)]
    subprocess.run(command, check=True, capture_output=True)
    return target


@pytest.fixture
def with_package(installed: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(installed), os.environ.get("PYTHONPATH", "")])))


def test_it_is_listed_and_its_broken_neighbour_reported(with_package: None) -> None:
    rows = {row["name"]: row for row in ok("methods", "list")}
    assert rows["example_ia3"]["summary"] == "learned rescaling vectors, from a third-party package"
    assert "example_broken" not in rows and "lora" in rows
    plugins = {row["name"]: row for row in ok("plugins", "list")}
    assert plugins["example_ia3"]["package"] == "finetui-example-ia3 0.3.0"
    assert "ModuleNotFoundError" in plugins["example_broken"]["error"]
    refused("methods", "show", "example_broken", code=1, says="finetui-example-ia3")


def test_its_options_become_flags(with_package: None) -> None:
    shown = finetui("train", "--method", "example_ia3", "--help").out
    assert "--where [attention|everywhere]" in shown
    assert "where" not in finetui("train", "--method", "lora", "--help").out.split("--objective")[0].split("--method")[0]


def test_its_options_become_a_form(with_package: None) -> None:
    """The screen's form is made from the same declarations, in a process that has the package."""
    script = (
        "from finetui.core import registry\n"
        "from finetui.core.options import describe\n"
        "rows = describe(registry.load('methods', 'example_ia3').options)\n"
        "print(rows[0].name, rows[0].kind, rows[0].choices)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "where choice ('attention', 'everywhere')"


def test_it_trains_and_what_it_trained_can_be_used(with_package: None, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "llama")
    data = tmp_path / "data.jsonl"
    data.write_text(ROWS)
    started = ok(
        "train", "--model", base, "--data", data, "--method", "example_ia3", "--where", "attention", "--max-steps", 6,
        "--learning-rate", 0.05, "--name", "scaled", "--detach",
    )  # fmt: skip
    row = wait(started["run"])
    assert row["state"] == "succeeded", row["error"]
    assert row["trainable_parameters"] == 2 * 2 * 32  # two blocks, k_proj and v_proj with 2 key-value heads of 16
    entry = ok("adapters", "show", "scaled")
    assert entry["method"] == "example_ia3" and entry["peft_type"] == "IA3"
    scores = ok("eval", "--model", base, "--adapter", "scaled", "--data", data)
    assert scores[1]["loss"] < scores[0]["loss"]


def test_it_refuses_an_architecture_in_its_own_words(with_package: None, tmp_path: Path) -> None:
    base = tiny_model(tmp_path / "base", "gpt2")
    data = tmp_path / "data.jsonl"
    data.write_text(ROWS)
    refused(
        "train", "--model", base, "--data", data, "--method", "example_ia3", "--detach", code=4, says="has no k_proj and v_proj"
    )  # fmt: skip
