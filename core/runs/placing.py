"""Which GPUs something may have now: free of leases, and with enough memory free for what is planned."""

from __future__ import annotations

import os
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

import msgspec

from ..devices import Device, list_devices, sample, select
from ..errors import DeviceBusy
from ..planner.memory import human_bytes
from . import leases
from .leases import Holder, Lease, Wants

_UNUSED_BYTES = 1 << 30
"""A GPU with less in use is empty: drivers keep some hundred MB for themselves, which no waiting sets free."""


@dataclass(frozen=True)
class Shortage:
    """Why there is no lease now.

    Attributes:
        reason: what would have to come: ``a GPU with 12 GiB free``, ``GPU 1, taken by run …``.
        holders: who has which of the GPUs, in words.
    """

    reason: str
    holders: tuple[str, ...] = ()


def wants_of(request: Mapping[str, Any]) -> Wants:
    """What a run's request asks for, within ``CUDA_VISIBLE_DEVICES`` of this process.

    Raises:
        NotFound, Refused, UsageError: as `select`.
    """
    memory, share = int(request.get("planned_memory_bytes") or 0), bool(request.get("share_gpu"))
    return wants(str(request.get("gpus", "none")), memory, share=share)


def wants(gpus: str, memory: int = 0, *, share: bool = False) -> Wants:
    """A value of ``--gpus`` as UUIDs.

    Raises:
        NotFound, Refused, UsageError: as `select`.
    """
    return Wants(devices=[device.uuid for device in select(gpus)], every=gpus != "auto", memory=memory, share=share)


def place(wanted: Wants, by: Holder, avoid: Set[str] = frozenset()) -> Lease | Shortage:
    """Lease what is wanted, if it can be had now; of several GPUs that will do the one with most free memory.

    Args:
        avoid: UUIDs that others have a better claim to.
    """
    if wanted.devices == ["cpu"]:
        return Lease(["cpu"])
    present = _present(wanted)
    if not present or (wanted.every and len(present) < len(wanted.devices)):
        return Shortage(f"GPU {', '.join(set(wanted.devices) - present.keys())}, which cannot be seen now")
    if wanted.every:
        return _place_on_every(list(present.values()), wanted, by, avoid)
    able = [device for device in present.values() if _holds(device, wanted.memory)] or list(present.values())
    allowed = [device for device in able if device.uuid not in avoid]
    for device in sorted(allowed, key=lambda device: -device.memory_free):
        lease = _lease([device], wanted, by)
        if lease is not None:
            return lease
    return _shortage(able, allowed, wanted)


def waits_for(wanted: Wants) -> str:
    """What a run that wants this would have to wait for now; empty where it could start. No lease is taken: the next moment may differ."""
    if wanted.devices == ["cpu"]:
        return ""
    present = list(_present(wanted).values())
    able = [device for device in present if _holds(device, wanted.memory)] or present
    free = [device for device in able if not _blockers(device, wanted) and _could_take(device, wanted)]
    enough = len(free) == len(wanted.devices) if wanted.every else bool(free)
    return "" if enough else _shortage(able, able, wanted).reason


def _could_take(device: Device, wanted: Wants) -> bool:
    memory = wanted.memory if _holds(device, wanted.memory) else 0
    if wanted.share:
        return leases.room(device.uuid, free=device.memory_free, total=device.memory_total) >= memory
    return _has_room(device, memory)


def lease_one(gpus: str, memory: int, what: str, *, share: bool = False) -> Lease:
    """Lease one GPU, or the CPU where there is none, for something that does not wait: a chat, say. The first of several that are named.

    Raises:
        DeviceBusy: none can be had now; names who has them.
        NotFound, Refused, UsageError: as `select`.
    """
    wanted = wants(gpus, memory, share=share)
    if wanted.every:
        wanted = msgspec.structs.replace(wanted, devices=wanted.devices[:1])
    placed = place(wanted, leases.holder(what, os.getpid()))
    if isinstance(placed, Lease):
        return placed
    told = "; ".join(placed.holders)
    raise DeviceBusy(
        f"{what} needs {placed.reason}" + (f" ({told})" if told and told not in placed.reason else ""),
        "--share-gpu (setting share_gpu) uses a GPU beside others that share it, --gpus none the CPU; `finetui runs list` shows what runs",
    )


def _present(wanted: Wants) -> dict[str, Device]:
    """The wanted GPUs that work, as they are now; looked for anew when one is missing."""
    for look in (sample, list_devices):
        found = {device.uuid: device for device in look() if device.kind != "cpu" and device.usable}
        if all(uuid in found for uuid in wanted.devices):
            break
    return {uuid: found[uuid] for uuid in wanted.devices if uuid in found}


def _place_on_every(devices: list[Device], wanted: Wants, by: Holder, avoid: Set[str]) -> Lease | Shortage:
    allowed = [device for device in devices if device.uuid not in avoid]
    lease = _lease(devices, wanted, by) if len(allowed) == len(devices) else None
    return lease or _shortage(devices, allowed, wanted)


def _lease(devices: list[Device], wanted: Wants, by: Holder) -> Lease | None:
    """All of these devices, or none."""
    memory = {device.uuid: wanted.memory if _holds(device, wanted.memory) else 0 for device in devices}
    if not wanted.share:
        enough = all(_has_room(device, memory[device.uuid]) for device in devices)
        return leases.acquire([device.uuid for device in devices], by) if enough else None
    whole = Lease([])
    for device in devices:
        part = leases.acquire_shared(device.uuid, by, memory[device.uuid], free=device.memory_free, total=device.memory_total)
        if part is None:
            whole.release()
            return None
        whole.devices += part.devices
        whole.descriptors += part.descriptors
    return whole


def _holds(device: Device, memory: int) -> bool:
    """Whether so much would fit on the device if it were empty; what never fits waits for nothing, the run itself says so."""
    return memory <= device.memory_total


def _has_room(device: Device, memory: int) -> bool:
    return device.memory_free >= memory or device.memory_used < _UNUSED_BYTES


def _shortage(devices: list[Device], allowed: list[Device], wanted: Wants) -> Shortage:
    """Why none (or not every one) of ``devices`` can be had."""
    blockers = {device.id: _blockers(device, wanted) for device in devices}
    told = tuple(f"GPU {id} is taken by {' and '.join(map(str, held))}" for id, held in blockers.items() if held)
    if not allowed or (wanted.every and len(allowed) < len(devices)):
        return Shortage("its turn: runs before it in the queue want the same GPU", told)
    names, amount = ", ".join(blockers), f"{human_bytes(wanted.memory)} free" if wanted.memory else "some memory free"
    if wanted.every or len(devices) == 1:
        who = " and ".join(str(one) for held in blockers.values() for one in held)
        return Shortage(f"GPU {names}, taken by {who}" if who else f"{amount} on GPU {names}", told)
    if all(blockers[device.id] for device in allowed):
        return Shortage("a GPU: every one is taken", told)
    return Shortage(f"a GPU with {amount}", told)


def _blockers(device: Device, wanted: Wants) -> list[Holder]:
    """Who has the GPU in a way that excludes what is wanted."""
    alone = leases.alone(device.uuid)
    if alone is not None:
        return [alone]
    return [] if wanted.share else leases.sharers(device.uuid)
