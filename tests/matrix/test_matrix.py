"""Every method on every architecture for every task: works, or is refused with its reason; `core/matrix.json` says the same."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from finetui.core import registry
from finetui.core.api import Task
from finetui.core.matrix import WORKS, read_matrix
from support.matrix import TASKS, refusal, run_cell
from support.models import ARCHITECTURES, tiny_model
from support.reloader import Reloader

OUT = os.environ.get("FINETUI_MATRIX_OUT")
"""Where ``scripts/matrix.py`` wants what was found; else it is compared with what the file says."""

OWN = registry.names("methods")
METHODS = [*OWN, *(registry.members("methods") if OUT else (name for name in read_matrix().methods if ":" in name))]

SLICE = (
    ("lora", "qwen2", "causal-lm"), ("adapter", "falcon", "causal-lm"), ("qlora", "bert", "seq-cls"), ("prefix_tuning", "bert", "seq-cls"),
    ("bitfit", "bert", "seq-cls"),
)  # fmt: skip
"""Cells that the short test run tries as well."""


@pytest.fixture(scope="session")
def reloader() -> Iterator[Reloader]:
    process = Reloader()
    yield process
    process.close()


def try_cell(method: str, architecture: str, task: Task, tmp_path: Path, reloader: Reloader) -> None:
    found = run_cell(method, architecture, task, tmp_path, reloader)
    if OUT:
        name = f"{method}.{architecture}.{task}.json".replace(":", "-")
        (Path(OUT) / name).write_text(json.dumps([method, architecture, task, found]))
    else:
        assert found == read_matrix().methods[method][architecture][task]


@pytest.mark.matrix
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("method", METHODS)
def test_every_cell(method: str, architecture: str, task: Task, tmp_path: Path, reloader: Reloader) -> None:
    try_cell(method, architecture, task, tmp_path, reloader)


@pytest.mark.parametrize("method,architecture,task", SLICE)
def test_a_slice(method: str, architecture: str, task: Task, tmp_path: Path, reloader: Reloader) -> None:
    try_cell(method, architecture, task, tmp_path, reloader)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_refusals_are_those_of_the_matrix(architecture: str, tmp_path: Path) -> None:
    folder = tiny_model(tmp_path / "base", architecture)
    for method in OWN:
        for task in TASKS:
            assert (refusal(method, folder, task) or WORKS) == read_matrix().methods[method][architecture][task]


@pytest.mark.matrix
def test_every_tuner_of_peft_is_in_it() -> None:
    assert {name for name in read_matrix().methods if ":" in name} == set(registry.members("methods"))


def test_nothing_is_untested() -> None:
    found = read_matrix()
    assert set(found.methods) == set(METHODS)
    assert all(set(cells) == set(ARCHITECTURES) and set(cells[name]) == set(TASKS) for cells in found.methods.values() for name in cells)
