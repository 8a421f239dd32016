"""The same terminal for every test, a stage for pictures, and a path on which toy jobs find the tests' support package."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.snapshots import Stage, staged

TESTS = Path(__file__).resolve().parent.parent


@pytest.fixture(autouse=True)
def support_package_for_jobs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put ``tests`` on the path of child processes."""
    paths = [str(TESTS), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))


@pytest.fixture(autouse=True)
def same_terminal_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Colours do not depend on where the tests run."""
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch, pytestconfig: pytest.Config) -> Iterator[Stage]:
    """A home and a machine that look the same everywhere, to compare pictures of the screen: see `support.snapshots`."""
    with staged(monkeypatch, update=pytestconfig.getoption("--update-snapshots")) as made:
        yield made
