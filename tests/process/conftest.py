"""Real supervisors and toy jobs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from finetui.core.fsio import is_locked
from finetui.core.runs.queue import Queue, runner_lock
from support.disks import small_disk
from support.fixtures import base, data, toys
from support.gpus import Gpus, eight_gpus
from support.runs import TESTS, Toys, toys_in, until

__all__ = ["base", "data", "toys"]


@pytest.fixture
def small_toys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Toys]:
    """Toy runs in a home on a file system of 1 MiB."""
    monkeypatch.setenv("PYTHONPATH", str(TESTS))
    with small_disk(tmp_path, "1m") as disk, toys_in(disk / "home") as toys:
        yield toys


@pytest.fixture
def gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toys: Toys) -> Iterator[Gpus]:
    """Eight GPUs with 80 GB each, all free."""
    with eight_gpus(tmp_path, monkeypatch) as gpus:
        yield gpus


@pytest.fixture
def queue(toys: Toys) -> Iterator[Queue]:
    """The queue of the test's home; its runner must leave when nothing waits any more."""
    line = Queue(toys.store.home)
    yield line
    until(lambda: not is_locked(runner_lock(toys.store.home)), 10, "the runner's leaving")
