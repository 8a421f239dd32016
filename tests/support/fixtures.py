"""Fixtures that several folders of tests share; a folder's ``conftest.py`` imports those that it wants."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.models import tiny_model
from support.runs import TESTS, Toys, toys_in
from support.training import write_rows


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toys]:
    """Toy runs in this test's home; no process outlives the test."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with toys_in(tmp_path / "home") as toys:
        yield toys


@pytest.fixture
def base(tmp_path: Path) -> Path:
    """A tiny Qwen2 with random weights."""
    return tiny_model(tmp_path / "base", "qwen2")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Twelve rows to train it on."""
    return write_rows(tmp_path / "rows.jsonl")
