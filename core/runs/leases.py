"""GPU leases: machine-wide flocks, shared by all users, which the job inherits.

A lease lasts as long as any process has its descriptors, so it survives the death of the supervisor and frees itself with the
job, whatever way that ends. Files of one GPU, all in `paths.locks_dir`:

    gpu-UUID.lock           flock: exclusive by whoever has the GPU alone, shared by those who share it
    gpu-UUID.sharing.lock   held for the moment in which a sharer looks for room and reserves it
    gpu-UUID.share-N.lock   flock of one sharer; its content has the bytes that it reserved

Their contents say who holds them, for people; only the flocks count.
"""

from __future__ import annotations

import contextlib
import os
import pwd
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from .. import fsio, paths
from ..errors import CorruptFile

MOST_SHARERS = 32
"""Of one GPU."""


class Holder(msgspec.Struct, frozen=True, kw_only=True):
    """Who has a GPU.

    Attributes:
        what: ``run ID (name)``, or ``chat`` and its like.
        pid: of the process that the user started; 0 for a run, whose id says more.
        reserved: bytes that a sharer may use; 0: unknown.
    """

    what: str
    user: str
    pid: int = 0
    reserved: int = 0

    def __str__(self) -> str:
        return f"{self.what}, process {self.pid} of {self.user}" if self.pid else f"{self.what} of {self.user}"


def holder(what: str, pid: int = 0) -> Holder:
    """This user as the holder of a lease for ``what``."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without an entry
        user = str(os.getuid())
    return Holder(what=what, user=user, pid=pid)


class Wants(msgspec.Struct, frozen=True, kw_only=True):
    """What devices something waits for.

    Attributes:
        devices: UUIDs of GPUs, or ``["cpu"]``.
        every: all of them are wanted; else any one will do.
        memory: bytes planned on each; 0: unknown.
        share: beside others who share, not alone.
    """

    devices: list[str]
    every: bool = False
    memory: int = 0
    share: bool = False


@dataclass
class Lease:
    """Devices that a job may use, and the open lock files that say so.

    Attributes:
        devices: GPU UUIDs, or ``["cpu"]``.
        descriptors: the job must inherit them.
    """

    devices: list[str]
    descriptors: list[int] = field(default_factory=list)

    @property
    def environment(self) -> dict[str, str]:
        """What makes the job see these devices only."""
        from ..devices import environment_of

        return environment_of(self.devices)

    def release(self) -> None:
        """Let go in this process; descriptors that others inherited keep the GPUs leased."""
        while self.descriptors:
            os.close(self.descriptors.pop())


def acquire(uuids: Sequence[str], by: Holder) -> Lease | None:
    """Lease all of these GPUs for ``by`` alone, or none of them; ``None`` when one is taken."""
    lease = Lease(list(uuids))
    for uuid in sorted(uuids):
        lock = fsio.FileLock(_shared_file(f"gpu-{uuid}.lock"))
        if not lock.acquire():
            lease.release()
            return None
        _sign(lock.fd, by)
        lease.descriptors.append(lock.fd)
    return lease


def acquire_shared(uuid: str, by: Holder, memory: int, *, free: int, total: int) -> Lease | None:
    """Lease a GPU beside others that share it, and reserve memory of it; ``None`` when it is taken or has not enough room.

    Args:
        memory: bytes to reserve.
        free: bytes that are free now.
        total: bytes of the GPU.
    """
    looking = fsio.FileLock(_shared_file(f"gpu-{uuid}.sharing.lock"))
    if not looking.acquire():
        return None  # someone else is reserving; the next look decides
    try:
        gpu = fsio.FileLock(_shared_file(f"gpu-{uuid}.lock"))
        if not gpu.acquire(shared=True):
            return None
        lease = Lease([uuid], [gpu.fd])
        slot = _free_slot(uuid) if memory <= room(uuid, free=free, total=total) else None
        if slot is None:
            lease.release()
            return None
        _sign(slot.fd, msgspec.structs.replace(by, reserved=memory))
        lease.descriptors.append(slot.fd)
        return lease
    finally:
        looking.release()


def room(uuid: str, *, free: int, total: int) -> int:
    """Bytes for one more sharer: what is free now, and not yet spoken for by sharers who may still be loading."""
    return min(free, total - sum(sharer.reserved for sharer in sharers(uuid)))


def sharers(uuid: str) -> list[Holder]:
    """Who shares a GPU now."""
    return [_signature(path) for path in _slots(uuid) if fsio.is_locked(path)]


def alone(uuid: str) -> Holder | None:
    """Who has a GPU for himself now."""
    path = paths.locks_dir() / f"gpu-{uuid}.lock"
    return _signature(path) if fsio.is_locked(path) else None


def _slots(uuid: str) -> list[Path]:
    names = [f"gpu-{uuid}.share-{number}.lock" for number in range(MOST_SHARERS)]
    return [paths.locks_dir() / name for name in names]


def _free_slot(uuid: str) -> fsio.FileLock | None:
    """The lock of one more sharer; files are made as they are needed and stay."""
    for path in _slots(uuid):
        lock = fsio.FileLock(_shared_file(path.name))
        if lock.acquire():
            return lock
    return None


def _sign(descriptor: int, by: Holder) -> None:
    data = msgspec.json.encode(by)
    with contextlib.suppress(OSError):  # a full disk: who holds it is not known then, but it is held
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, data, 0)


def _signature(path: Path) -> Holder:
    try:
        return fsio.read_json(path, Holder)
    except (OSError, CorruptFile):
        return Holder(what="somebody", user="unknown")


def _shared_file(name: str) -> Path:
    """A lock file, made so that every user may open it, whatever the umask."""
    path = paths.locks_dir() / name
    with fsio.disk_errors(path), contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        try:
            os.fchmod(descriptor, 0o666)
        finally:
            os.close(descriptor)
    return path
