"""GPU leases: one machine-wide flock a GPU, shared by all users, which the job inherits.

The lock is held as long as any process has the descriptor, so it survives the death of the supervisor and frees itself
with the job, whatever way that ends.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from .. import fsio, paths
from ..devices import Device, select

RETRY_SECONDS = 1.0


@dataclass
class Lease:
    """Devices that a run may use, and the locks that say so.

    Attributes:
        devices: GPU UUIDs, or ``["cpu"]``.
    """

    devices: list[str]
    locks: list[fsio.FileLock] = field(default_factory=list)

    @property
    def descriptors(self) -> tuple[int, ...]:
        """File descriptors that the job must inherit."""
        return tuple(lock.fd for lock in self.locks)

    @property
    def visible_devices(self) -> str:
        """``CUDA_VISIBLE_DEVICES`` of the job: UUIDs, or nothing."""
        return ",".join(device for device in self.devices if device != "cpu")

    def release(self) -> None:
        """Let go in this process; the job's own descriptors keep the GPUs leased."""
        for lock in self.locks:
            lock.release()


def acquire(uuids: Sequence[str]) -> Lease | None:
    """Lease all of these GPUs or none of them; ``None`` when one is taken."""
    lease = Lease(list(uuids))
    for uuid in sorted(uuids):
        lock = fsio.FileLock(_shared_file(uuid))
        if not lock.acquire():
            lease.release()
            return None
        lease.locks.append(lock)
    return lease


def wait_for_devices(gpus: str, waiting: Callable[[str], bool]) -> Lease | None:
    """Lease what ``gpus`` asks for (``auto``: the GPU with most free memory; ``none``, indices, UUIDs), waiting while it is taken.

    Args:
        waiting: called with the reason before each wait; returns whether to go on waiting.

    Returns:
        The lease, or ``None`` when ``waiting`` gave up.

    Raises:
        NotFound, Refused: no such GPU, or none that this process may use.
    """
    while True:
        lease = _lease_auto() if gpus == "auto" else _lease_all(select(gpus))
        if lease is not None:
            return lease
        if not waiting("every GPU is taken by another run" if gpus == "auto" else f"GPU {gpus} is taken by another run"):
            return None
        time.sleep(RETRY_SECONDS)


def _lease_auto() -> Lease | None:
    candidates = _gpus(select("auto"))  # most free memory first
    for device in candidates:
        lease = acquire([device.uuid])
        if lease is not None:
            return lease
    return None if candidates else Lease(["cpu"])


def _lease_all(devices: list[Device]) -> Lease | None:
    chosen = _gpus(devices)
    return acquire([device.uuid for device in chosen]) if chosen else Lease(["cpu"])


def _gpus(devices: list[Device]) -> list[Device]:
    return [device for device in devices if device.kind == "cuda"]


def _shared_file(uuid: str) -> Path:
    """The GPU's lock file, made so that every user may open it, whatever the umask."""
    path = paths.locks_dir() / f"gpu-{uuid}.lock"
    with fsio.disk_errors(path), contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.fchmod(descriptor, 0o666)
        finally:
            os.close(descriptor)
    return path
