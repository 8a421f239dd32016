"""Fixtures for every test: a home of its own, no user configuration, no network, and the shared real data."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent

os.environ["HF_HUB_OFFLINE"] = "1"  # the Hub's client reads it once, when the first module of tests imports it


def pytest_addoption(parser: pytest.Parser) -> None:
    """The switch of `support.snapshots`."""
    parser.addoption("--update-snapshots", action="store_true", help="write tests/tui/snapshots anew from what is painted")


@pytest.fixture(scope="session")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache that all tests share: what it holds depends on the installed libraries only."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def isolated(tmp_path: Path, facts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep every test out of the user's files and off the network."""
    monkeypatch.setenv("FINETUI_CACHE", str(facts))
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("FINETUI_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("FINETUI_LOCK_DIR", str(tmp_path / "locks"))
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("HF_HUB_DISABLE_TELEMETRY", "1")
    monkeypatch.setenv("OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "2"))
    for name in ("HF_TOKEN", "HF_ENDPOINT", "NO_COLOR", "FINETUI_DEBUG"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def shared_data() -> Callable[[str], Path]:
    """``shared_data("alpaca_en_demo.json")`` is that file's path; skips (or fails, see README) where it is absent."""

    def find(name: str) -> Path:
        folder = Path(os.environ.get("FINETUI_SHARED_DATA") or REPOSITORY.parent / "shared" / "data")
        path = folder / name
        if not path.exists():
            reason = f"{name} is not in {folder}"
            if os.environ.get("FINETUI_REQUIRE_DATA") == "1":
                pytest.fail(reason)
            pytest.skip(reason)
        return path

    return find
