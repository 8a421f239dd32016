"""The CPU as a training device, with the memory that this process may really use."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

import psutil

from .device import Device

_UNLIMITED = 1 << 60
"""Control groups of version 1 write "no limit" as a number near 2⁶³."""


def cpu_device(problem: str = "") -> Device:
    """The CPU now. Utilisation is that since the previous call in this process (``None`` at the first).

    Args:
        problem: why no GPU is used instead.
    """
    memory = psutil.virtual_memory()
    total, free = memory.total, memory.available
    limit, used = control_group_memory()
    if limit is not None and limit < total:
        total, free = limit, min(free, max(0, limit - used))
    return Device(
        kind="cpu", id="cpu", uuid="cpu", name=_name(), memory_total=total, memory_free=free, utilisation=_load(),
        cores=_cores(), problem=problem,
    )  # fmt: skip


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


_asked_before = False


def _load() -> float | None:
    global _asked_before
    percent = psutil.cpu_percent(interval=None)
    first, _asked_before = not _asked_before, True
    return None if first else percent


@cache
def _name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # not Linux, or a sandbox without /proc
    return platform.processor() or platform.machine()


def control_group_memory(membership: Path = Path("/proc/self/cgroup"), root: Path = Path("/sys/fs/cgroup")) -> tuple[int | None, int]:
    """The tightest memory limit of this process's control groups (containers, Slurm, systemd), and what it holds already.

    Args:
        membership: the process's list of groups.
        root: where the hierarchies are mounted; version 1 keeps memory in a folder of its own.

    Returns:
        (limit in bytes or ``None``, bytes in use without file cache that can be dropped).
    """
    tightest: int | None = None
    used = 0
    for folder, limit_name, usage_name, cache_name in _groups(membership, root):
        limit = _number(folder / limit_name)
        if limit is not None and limit < _UNLIMITED and (tightest is None or limit < tightest):
            tightest = limit
            used = max(0, (_number(folder / usage_name) or 0) - _statistic(folder / "memory.stat", cache_name))
    return tightest, used


def _groups(membership: Path, root: Path) -> list[tuple[Path, str, str, str]]:
    """The memory groups of the process and all their parents: folder, names of limit, usage, and droppable cache."""
    try:
        lines = membership.read_text().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        number, controllers, path = line.split(":", 2)
        if number == "0" and not controllers:
            base, names = root, ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            base, names = root / "memory", ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
        else:
            continue
        relative = Path(path.lstrip("/"))
        found += [(base / parent, *names) for parent in (relative, *relative.parents)]
    return found


def _number(file: Path) -> int | None:
    try:
        text = file.read_text().strip()
    except OSError:
        return None  # in a container the path outside it does not exist inside
    return int(text) if text.isdigit() else None


def _statistic(file: Path, name: str) -> int:
    try:
        rows = dict(line.split() for line in file.read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(rows.get(name, 0))
