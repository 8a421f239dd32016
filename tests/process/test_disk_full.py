"""A full disk: the run fails cleanly and says so; nothing half-written stays; what was there before is kept."""

from __future__ import annotations

import pytest
from finetui.core.errors import DiskError
from finetui.core.fsio import is_locked
from finetui.core.runs.adopt import refresh
from finetui.core.runs.follow import follow
from finetui.core.runs.launch import launch, resume
from support.disks import check_files, fill
from support.runs import LAUNCH, Toys, python, until, wait_for, wait_for_end


def test_disk_fills_up_while_training(small_toys: Toys) -> None:
    run = small_toys.start(steps=10000, filler=4096, pause=0.001)
    state = wait_for_end(run, 30)
    assert state.state == "failed" and state.error is not None
    assert state.error["kind"] == "disk" and "metrics.jsonl: No space left" in state.error["message"]
    assert "free some space" in state.error["hint"]
    result = run.result()
    assert result is not None and result.error == state.error
    check_files(run)
    assert len(run.metrics()) > 20 and run.summary()["error"]["kind"] == "disk"


def test_run_failed_by_a_full_disk_resumes_once_there_is_space(small_toys: Toys) -> None:
    filler = small_toys.store.home.root / "filler"
    filler.write_bytes(bytes(600 * 1024))
    run = small_toys.start(steps=60, filler=6000, pause=0.001)
    assert wait_for_end(run, 30).state == "failed"
    filler.unlink()
    resume(run)
    assert wait_for_end(run, 30).state == "succeeded"
    assert [line["step"] for line in run.metrics()] == list(range(1, 61))


def test_full_disk_without_any_reserve_is_written_down_later(small_toys: Toys) -> None:
    """Neither job nor supervisor can write; whoever looks once there is space again finds the run ended."""
    run = small_toys.start(steps=10000, pause=0.02)
    wait_for(run, "running")
    (run.dir / ".reserve").unlink()
    filler = fill(small_toys.store.home.root)
    until(lambda: not is_locked(run.dir / "lock"), 30, "the supervisor's end")
    assert run.state().state == "running"
    assert refresh(run).state == "lost", "the truth is told although it cannot be written"
    assert [update.state.state for update in follow(run)] == ["lost"]
    check_files(run)
    filler.unlink()
    state = refresh(run)
    assert state.state == "lost" and run.state().state == "lost"
    assert "No space left" in (run.dir / "console.log").read_text() or "no result" in state.reason


def test_full_disk_refuses_new_runs_without_a_trace(small_toys: Toys) -> None:
    queued = small_toys.create()
    filler = fill(small_toys.store.home.root)
    before = sorted(small_toys.store.home.runs.iterdir())
    with pytest.raises(DiskError, match="No space left"):
        small_toys.create()
    assert sorted(small_toys.store.home.runs.iterdir()) == before
    with pytest.raises(DiskError, match="No space left"):
        launch(queued)
    assert queued.state().state == "queued"
    filler.unlink()
    launch(queued)
    assert wait_for_end(queued).state == "succeeded"


def test_file_size_limit_fails_the_run_cleanly(toys: Toys) -> None:
    """``ulimit -f``: what a quota on one file does, without needing root."""
    run = toys.create(steps=10000, filler=4096, pause=0.001)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, 300_000))"
    launcher = python(LAUNCH.format(before=limit, after=""), str(toys.store.home.root), run.id)
    assert launcher.communicate(timeout=20)[0].strip() == "launched"
    state = wait_for_end(run, 30)
    assert state.state == "failed" and state.error is not None
    assert state.error["kind"] == "disk" and "File too large" in state.error["message"] and "ulimit" in state.error["hint"]
    check_files(run)
    assert 0 < (run.dir / "metrics.jsonl").stat().st_size <= 300_000
