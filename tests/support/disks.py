"""A small file system of its own, to be filled up."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from finetui.core.fsio import read_json
from finetui.core.runs.store import Run


@contextmanager
def small_disk(parent: Path, size: str) -> Iterator[Path]:
    """A folder in ``parent`` that is a file system of ``size`` (``4m``); skips the test where none may be mounted."""
    disk = parent / "disk"
    disk.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if os.geteuid() != 0 or shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("mounting a small file system needs root")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def fill(folder: Path) -> Path:
    """Use up all space of a file system with one file, and give that back."""
    filler = folder / "filler"
    with open(filler, "wb", buffering=0) as file:
        size = 65536
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return filler


def leave(folder: Path, size: int) -> Path:
    """Use up the space of a file system but for ``size`` bytes."""
    filler = folder / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(folder).free - size))
    return filler


def check_files(run: Run) -> None:
    """Every JSON file of a run is whole, every line of its logs is, and no temporary file is left."""
    for path in run.dir.glob("*.json"):
        read_json(path)
    for name in ("events.jsonl", "metrics.jsonl"):
        data = (run.dir / name).read_bytes() if (run.dir / name).exists() else b""
        assert not data or data.endswith(b"\n")
    assert [path.name for path in run.dir.iterdir() if path.name.startswith(".") and path.name != ".reserve"] == []
