"""The GPU of Apple silicon: torch's ``mps``. It has no memory of its own; utilisation and sensors need root there."""

from __future__ import annotations

import platform
import subprocess
import sys
from functools import cache

import psutil

from .device import Device


def gpus() -> list[Device]:
    """The GPU of this Mac now; empty on other machines."""
    if sys.platform != "darwin" or platform.machine() != "arm64":
        return []
    memory = psutil.virtual_memory()
    return [Device(kind="mps", vendor="apple", id="mps", uuid="mps", name=_name(), memory_total=memory.total, memory_free=memory.available)]


@cache
def _name() -> str:
    """``Apple M2 Max``: CPU and GPU are one chip."""
    try:
        done = subprocess.run(["sysctl", "-n", "machdep.cpu.brand_string"], capture_output=True, text=True, timeout=5)
    except (OSError, subprocess.TimeoutExpired):
        return "Apple GPU"
    return done.stdout.strip() or "Apple GPU"
