"""Which devices there are, and which of them ``--gpus`` means."""

from __future__ import annotations

import os
from collections.abc import Sequence

from ..errors import NotFound, Refused, UsageError
from .cpu import cpu_device
from .device import Device
from .nvidia import gpu_problem, gpus


def list_devices() -> list[Device]:
    """The GPUs of this machine with the processes on them, in the order of ``nvidia-smi``; the CPU where there are none.

    Looks anew at every call; never raises. The CPU's ``problem`` says why there is no GPU.
    """
    return gpus(fresh=True, processes=True) or [cpu_device(gpu_problem())]


def sample() -> list[Device]:
    """The known devices as they are now: what a dashboard reads twice a second. Cheap; never raises."""
    return gpus() or [cpu_device(gpu_problem())]


def select(wanted: str = "auto") -> list[Device]:
    """The devices that a value of ``--gpus`` means, within ``CUDA_VISIBLE_DEVICES``.

    Args:
        wanted: ``auto``: every GPU that works, most free memory first, else the CPU; ``none``: the CPU; else indices as
            ``nvidia-smi`` shows them (``0:1`` is slice 1 of GPU 0) or UUIDs, joined by commas.

    Raises:
        NotFound: a GPU is named that does not exist.
        Refused: one is named that ``CUDA_VISIBLE_DEVICES`` hides, or that does not work.
        UsageError: ``wanted`` is malformed.
    """
    if wanted == "none":
        return [cpu_device()]
    present = gpus()
    visible = visible_devices(present, os.environ.get("CUDA_VISIBLE_DEVICES"))
    if wanted == "auto":
        working = sorted((device for device in visible if device.usable), key=lambda device: -device.memory_free)
        return working or [cpu_device(_why_none(present))]
    names = [name.strip() for name in wanted.split(",")]
    if not all(names):
        raise UsageError(f"--gpus {wanted!r} is malformed", "auto, none, or indices or UUIDs joined by commas: 0,1")
    chosen = [_pick(name, present, visible) for name in dict.fromkeys(names)]
    return list({device.uuid: device for device in chosen}.values())


def _pick(name: str, present: Sequence[Device], visible: Sequence[Device]) -> Device:
    """The one GPU that ``name`` means."""
    if not present:
        raise NotFound(f"there is no GPU {name} on this machine: {gpu_problem()}", "--gpus none uses the CPU; `finetui doctor` tells more")
    found = _matching(name, present)
    if not found:
        raise NotFound(f"there is no GPU {name} on this machine", "its GPUs: " + ", ".join(f"{d.id} ({d.name})" for d in present))
    if len(found) > 1:
        raise UsageError(f"'{name}' begins the UUIDs of {len(found)} GPUs", "give more of the UUID")
    device = found[0]
    if device not in visible:
        ids = ", ".join(d.id for d in visible) or "none"
        raise Refused(f"GPU {name} is hidden by CUDA_VISIBLE_DEVICES={os.environ.get('CUDA_VISIBLE_DEVICES')}", f"visible GPUs: {ids}")
    if not device.usable:
        raise Refused(f"GPU {name} does not work: {device.problem}", "choose another GPU, or restart the machine")
    return device


def _matching(name: str, devices: Sequence[Device]) -> list[Device]:
    """Devices with this id or UUID; the beginning of a UUID will do, as for CUDA."""
    exact = [device for device in devices if name in (device.id, device.uuid)]
    if exact or not name.startswith(("GPU-", "MIG-")):
        return exact
    return [device for device in devices if device.uuid.startswith(name)]


def visible_devices(devices: Sequence[Device], variable: str | None) -> list[Device]:
    """The part of ``devices`` that ``CUDA_VISIBLE_DEVICES`` lets a process see, in its order.

    As CUDA does, reading stops at the first entry that means no device. Indices are taken as ``nvidia-smi`` shows them;
    workers are handed UUIDs, so CUDA's own numbering plays no part.

    Args:
        variable: the variable's value; ``None`` where it is not set.
    """
    if variable is None:
        return list(devices)
    visible: list[Device] = []
    for entry in variable.split(","):
        found = _matching(entry.strip(), devices)
        if len(found) != 1 or found[0] in visible:
            break
        visible.append(found[0])
    return visible


def _why_none(present: Sequence[Device]) -> str:
    if not present:
        return gpu_problem()
    if "CUDA_VISIBLE_DEVICES" in os.environ:
        return f"CUDA_VISIBLE_DEVICES={os.environ['CUDA_VISIBLE_DEVICES']} leaves no GPU that works"
    return present[0].problem
