"""What a run will write, and whether the disk has room for it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from finetui.core.errors import DoesNotFit
from finetui.core.planner.disk import DiskNeed, disk_need, require_disk, shortage
from finetui.core.training import TrainingOptions

MB = 10**6
MODEL = {"model_bytes": 200 * MB, "parameters": 100 * MB}


def test_need_by_artifact() -> None:
    """Checkpoints hold float32 and Adam's two moments; a result is stored as the base is, but an adapter in float32."""
    training = TrainingOptions(save_total_limit=3)
    assert disk_need(MB, "adapter", training, **MODEL) == DiskNeed(12 * MB, 5, 4 * MB)
    assert disk_need(MB, "delta", training, **MODEL).result == 2 * MB
    full = disk_need(100 * MB, "model", training, **MODEL)
    assert full == DiskNeed(1200 * MB, 5, 200 * MB) and (full.least, full.most) == (1400 * MB, 6200 * MB)
    assert disk_need(100 * MB, "model", TrainingOptions(optim="paged_adamw_8bit"), **MODEL).checkpoint == 603 * MB


def test_what_has_no_room_is_refused_with_numbers(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    require_disk(DiskNeed(free // 4, 5, free // 4), tmp_path / "not" / "yet")
    with pytest.raises(DoesNotFit, match=r"are free, a checkpoint \(.* TB\) and the result \(8\.0 MB\) need") as caught:
        require_disk(DiskNeed(2 * free + 10**12, 5, 8 * MB), tmp_path / "not" / "yet")
    assert caught.value.exit_code == 4 and "--home" in caught.value.hint


def test_what_may_run_short_is_said(tmp_path: Path) -> None:
    free = shutil.disk_usage(tmp_path).free
    need = DiskNeed(free // 4, 5, 8 * MB)
    assert "up to 5 checkpoints of" in shortage(need, tmp_path, 0) and "removed early" in shortage(need, tmp_path, 0)
    assert shortage(need, tmp_path, 2) == "", "two of them are there already"
