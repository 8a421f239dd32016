"""Toy jobs run as processes of their own: they need to find the tests' support package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def support_package_for_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ``tests`` on the path of child processes."""
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
