"""How much memory the job uses, as the run's figures count it."""

from __future__ import annotations

import ctypes
from pathlib import Path

import torch

_STATUS = Path("/proc/self/status")


_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX = -1, -2, -4
"""Parameters of glibc's ``mallopt``."""


def keep_freed_memory() -> None:
    """Let the C library keep what is freed for the next step, instead of returning it to the system and faulting it in anew.

    Steps allocate and free the same tensors over and over; on the CPU the page faults can cost as much as the arithmetic on
    them. Does nothing where the C library is not glibc.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_MMAP_MAX, 0)
        mallopt(_TRIM_THRESHOLD, -1)  # never
        mallopt(_TOP_PAD, 64 * 2**20)


def anonymous_bytes() -> int:
    """Anonymous resident memory of this process: what it allocated, without mapped files."""
    for line in _STATUS.read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024
    return 0


class MemoryMeter:
    """On CUDA the allocator's reserved bytes; on the CPU the growth of anonymous memory since the meter was made (after imports).

    The CPU's peak is the highest `sample`, so sample where memory is at its highest: after forward and backward passes.
    """

    def __init__(self, device: torch.device) -> None:
        self._cuda = device if device.type == "cuda" else None
        self._start = 0 if self._cuda else anonymous_bytes()
        self._peak = 0

    def sample(self) -> int:
        """Bytes in use now."""
        if self._cuda:
            return torch.cuda.memory_reserved(self._cuda)
        now = max(0, anonymous_bytes() - self._start)
        self._peak = max(self._peak, now)
        return now

    @property
    def peak(self) -> int:
        """Most bytes in use so far."""
        return torch.cuda.max_memory_reserved(self._cuda) if self._cuda else self._peak
