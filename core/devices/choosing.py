"""Which devices there are, and which of them ``--gpus`` means."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import msgspec

from ..errors import NotFound, Refused, UsageError
from . import amd, apple, nvidia
from .cpu import cpu_device
from .device import Device
from .nvidia import gpu_problem


def list_devices() -> list[Device]:
    """The GPUs of this machine with the processes on them, in the order of ``nvidia-smi``, and the CPU.

    Looks anew at every call; never raises. The CPU's ``problem`` says why no GPU can be used.
    """
    return _with_cpu(_gpus(fresh=True, processes=True))


def sample(*, processes: bool = False) -> list[Device]:
    """The known devices as they are now: what a dashboard reads twice a second. Cheap; never raises.

    Args:
        processes: list the processes on each GPU, too.
    """
    return _with_cpu(_gpus(processes=processes))


def _gpus(*, fresh: bool = False, processes: bool = False) -> list[Device]:
    """The GPUs of every maker; ids are unique."""
    found = nvidia.gpus(fresh=fresh, processes=processes)
    others = amd.gpus(processes=processes)
    if found:
        others = [msgspec.structs.replace(device, id=f"{amd.PREFIX}{device.id}") for device in others]
    return [*found, *others, *apple.gpus()]


def _with_cpu(found: list[Device]) -> list[Device]:
    usable = any(device.usable for device in found)
    return [*found, cpu_device("" if usable else _why_none(found))]


def select(wanted: str = "auto") -> list[Device]:
    """The devices that a value of ``--gpus`` means, within ``CUDA_VISIBLE_DEVICES`` (for AMD ``ROCR_`` and ``HIP_VISIBLE_DEVICES``).

    Args:
        wanted: ``auto``: every GPU that works, of one maker, most free memory first, else the CPU; ``none``: the CPU; else
            indices as ``nvidia-smi`` shows them (``0:1`` is slice 1 of GPU 0) or UUIDs, joined by commas.

    Raises:
        NotFound: a GPU is named that does not exist.
        Refused: one is named that the environment hides, or that does not work.
        UsageError: ``wanted`` is malformed, or means GPUs of two makers.
    """
    if wanted == "none":
        return [cpu_device()]
    present = _gpus()
    visible = _visible(present, os.environ)
    if wanted == "auto":
        working = sorted((device for device in visible if device.usable), key=lambda device: -device.memory_free)
        working = [device for device in working if device.vendor == _preferred(working)]
        return working or [cpu_device(_why_none(present))]
    names = [name.strip() for name in wanted.split(",")]
    if not all(names):
        raise UsageError(f"--gpus {wanted!r} is malformed", "auto, none, or indices or UUIDs joined by commas: 0,1")
    chosen = [_pick(name, present, visible) for name in dict.fromkeys(names)]
    if len({device.vendor for device in chosen}) > 1:
        raise UsageError(f"--gpus {wanted} names GPUs of two makers", "one run computes on GPUs of one maker")
    return list({device.uuid: device for device in chosen}.values())


def _preferred(working: Sequence[Device]) -> str:
    """The maker whose GPUs are taken where there are several: the one that comes first in the list of devices."""
    makers = {device.vendor for device in working}
    return next((maker for maker in ("nvidia", "amd", "apple") if maker in makers), "")


def environment_of(uuids: Sequence[str]) -> dict[str, str]:
    """Environment variables of a process that is to see exactly these devices.

    Args:
        uuids: as `Device.uuid`; those that are no GPU's (``cpu``) count for nothing.
    """
    names = [uuid for uuid in uuids if uuid not in ("cpu", "mps")]
    if any(uuid.startswith("AMD-") for uuid in names):
        places = {device.uuid: device.id for device in amd.gpus()}
        chosen = [places[uuid] for uuid in names if uuid in places]
        # ROCm applies its own variable first; what HIP's (or CUDA's, where HIP's is not set) names is counted among those.
        rest = ",".join(str(number) for number in range(len(chosen)))
        return {"ROCR_VISIBLE_DEVICES": ",".join(chosen), "HIP_VISIBLE_DEVICES": rest, "CUDA_VISIBLE_DEVICES": rest}
    return {"CUDA_VISIBLE_DEVICES": ",".join(names), **({} if names else {"HIP_VISIBLE_DEVICES": "-1"})}


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
        raise Refused(f"GPU {name} is hidden by {_limits(os.environ)}", f"visible GPUs: {ids}")
    if not device.usable:
        raise Refused(f"GPU {name} does not work: {device.problem}", "choose another GPU, or restart the machine")
    return device


def _matching(name: str, devices: Sequence[Device]) -> list[Device]:
    """Devices with this id or UUID; the beginning of a UUID will do, as for CUDA."""
    exact = [device for device in devices if name in (device.id, device.uuid)]
    if exact or not name.startswith(("GPU-", "MIG-", "AMD-")):
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


def _visible(present: Sequence[Device], environment: Mapping[str, str]) -> list[Device]:
    """The GPUs that the environment lets a process see: each maker has variables of its own."""
    cuda, hip = environment.get("CUDA_VISIBLE_DEVICES"), environment.get("HIP_VISIBLE_DEVICES")
    of_amd = [device for device in present if device.vendor == "amd"]
    # ROCm's indices do not know our prefix, and HIP counts among what ROCm left.
    numbered = [msgspec.structs.replace(device, id=str(index)) for index, device in enumerate(of_amd)]
    left = visible_devices(numbered, environment.get("ROCR_VISIBLE_DEVICES", "").replace("GPU-", "AMD-") or None)
    left = [msgspec.structs.replace(device, id=str(index)) for index, device in enumerate(left)]
    seen = {device.uuid for device in visible_devices(left, cuda if hip is None else hip)}
    return [
        *visible_devices([device for device in present if device.vendor == "nvidia"], cuda),
        *(device for device in of_amd if device.uuid in seen),
        *(device for device in present if device.vendor == "apple"),
    ]


def _limits(environment: Mapping[str, str]) -> str:
    """The variables that hide GPUs, as they are set; empty where none is."""
    names = ("CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES")
    return ", ".join(f"{name}={environment[name]}" for name in names if name in environment)


def _why_none(present: Sequence[Device]) -> str:
    """Why no GPU is used."""
    if not present:
        return gpu_problem()
    if not any(device.usable for device in present):
        return present[0].problem
    return f"{_limits(os.environ)} leaves no GPU that works"
