"""What a power cut may take: no state, no event, no checkpoint, and of the metric lines those of the last second."""

from __future__ import annotations

import os
import time
from collections import Counter
from pathlib import Path

import pytest
from finetui.core import fsio
from finetui.core.paths import Home
from finetui.core.runs import records
from finetui.core.runs.job import SYNC_SECONDS, Job
from finetui.core.runs.store import Run, RunStore


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return RunStore(Home(tmp_path / "home").create()).create("train", "toy", {})


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was made durable, by its name at that moment."""
    counts: Counter[str] = Counter()
    original = os.fsync

    def fsync(descriptor: int) -> None:
        original(descriptor)
        counts[Path(os.readlink(f"/proc/self/fd/{descriptor}")).name] += 1

    monkeypatch.setattr(os, "fsync", fsync)
    return counts


def test_metric_lines_are_synced_once_a_second(run: Run, synced: Counter[str]) -> None:
    job = Job(run.dir)
    began = time.monotonic()
    while time.monotonic() - began < 2.2 * SYNC_SECONDS:
        job.metric({"step": 1})
        time.sleep(0.002)
    written = len(run.metrics())
    assert synced["metrics.jsonl"] in (2, 3) and written > 20
    job.close()
    assert synced["metrics.jsonl"] in (3, 4)


def test_every_event_is_synced_but_progress(run: Run, synced: Counter[str]) -> None:
    job = Job(run.dir)
    for number in range(3):
        job.event("sample", "x")
        job.progress(number, 3, "steps")
    assert synced["events.jsonl"] == 3
    job.close()


def test_a_state_is_on_the_disk_before_it_counts(run: Run, synced: Counter[str]) -> None:
    records.change_state(run.dir, run.state(), "running")
    assert [name.startswith(".state.json.") for name in synced] == [True, False], "the file before it is renamed, then the folder"
    assert synced[run.dir.name] == 1


def test_a_folder_and_all_its_files_are_synced_before_it_appears(tmp_path: Path, synced: Counter[str]) -> None:
    with fsio.staged_folder(tmp_path / "step-1") as folder:
        (folder / "a.safetensors").write_bytes(b"a")
        (folder / "state.json").write_bytes(b"{}")
    assert {"a.safetensors", "state.json", tmp_path.name} < set(synced)
