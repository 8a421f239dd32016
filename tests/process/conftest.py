"""Real supervisors and toy jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from support.runs import TESTS, Toys, toys_in


@pytest.fixture
def toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toys]:
    """Toy runs in this test's home; no process outlives the test."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with toys_in(tmp_path / "home") as toys:
        yield toys
