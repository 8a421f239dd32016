"""NVIDIA GPUs through NVML: read without a CUDA context, handles kept between readings."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import Any

import msgspec

from .device import Device, DeviceProcess
from .processes import describe

_RETRY_SECONDS = 30.0
"""How often GPUs are looked for anew while one of them does not work."""


class _Session:
    """NVML once it is initialised in this process.

    Attributes:
        handles: (id, handle, problem) of every GPU and MIG slice; the handle of a lost one is ``None``.
        problem: why there are none.
    """

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.began = time.monotonic()
        self.nvml: Any = None
        self.handles: list[tuple[str, Any, str]] = []
        self.problem = ""
        try:
            import pynvml
        except ImportError as problem:
            self.problem = f"the Python package nvidia-ml-py is missing ({problem})"
            return
        try:
            pynvml.nvmlInit()
            self.nvml = pynvml
            self.handles = _enumerate(pynvml)
        except pynvml.NVMLError as problem:
            self.problem = _explain(pynvml, problem)
        if not self.handles and not self.problem:
            self.problem = "the NVIDIA driver finds no GPU"


_session: _Session | None = None

_seen: dict[str, Device] = {}
"""Every GPU by id as it was when it last answered: one that is lost keeps its name."""


def _current(*, fresh: bool = False) -> _Session:
    """The session of this process; a forked child and a caller that wants to look again get a new one."""
    global _session
    if _session is None or _session.pid != os.getpid() or fresh:
        _session = _Session()
    return _session


def _explain(nvml: Any, problem: Exception) -> str:
    """An NVML error as a person would say it."""
    code = getattr(problem, "value", None)
    sentences = {
        nvml.NVML_ERROR_LIBRARY_NOT_FOUND: "no NVIDIA driver is installed (libnvidia-ml.so is not there)",
        nvml.NVML_ERROR_DRIVER_NOT_LOADED: "the NVIDIA driver is installed but not loaded",
        nvml.NVML_ERROR_LIB_RM_VERSION_MISMATCH: "the NVIDIA driver was updated without a restart (library and kernel module differ)",
        nvml.NVML_ERROR_NO_PERMISSION: "the NVIDIA driver refuses access",
        nvml.NVML_ERROR_GPU_IS_LOST: "the GPU has fallen off the bus or is being reset",
        nvml.NVML_ERROR_RESET_REQUIRED: "the GPU must be reset before it works again (nvidia-smi --gpu-reset, or a restart)",
    }
    return sentences.get(code, f"NVML: {problem}")


def _enumerate(nvml: Any) -> list[tuple[str, Any, str]]:
    """Every GPU as (id, handle, problem); a GPU in MIG mode is listed by its slices."""
    found: list[tuple[str, Any, str]] = []
    for index in range(nvml.nvmlDeviceGetCount()):
        try:
            handle = nvml.nvmlDeviceGetHandleByIndex(index)
        except nvml.NVMLError as problem:
            found.append((str(index), None, _explain(nvml, problem)))
            continue
        slices = _slices(nvml, handle)
        found += [(f"{index}:{number}", part, "") for number, part in enumerate(slices)] or [(str(index), handle, "")]
    return found


def _slices(nvml: Any, handle: Any) -> list[Any]:
    """The MIG slices of a GPU; empty where it is not divided."""
    try:
        if nvml.nvmlDeviceGetMigMode(handle)[0] != nvml.NVML_DEVICE_MIG_ENABLE:
            return []
        count = nvml.nvmlDeviceGetMaxMigDeviceCount(handle)
    except nvml.NVMLError:
        return []  # not a GPU that can be divided
    parts = []
    for number in range(count):
        try:
            parts.append(nvml.nvmlDeviceGetMigDeviceHandleByIndex(handle, number))
        except nvml.NVMLError:
            continue  # numbers without a slice are no error
    return parts


def gpu_problem() -> str:
    """Why no GPU can be seen; empty where some can."""
    session = _current()
    return session.problem or ("" if any(handle is not None for _, handle, _ in session.handles) else session.handles[0][2])


def driver_version() -> str:
    """The NVIDIA driver's version; empty without one."""
    session = _current()
    if session.nvml is None:
        return ""
    try:
        return _text(session.nvml.nvmlSystemGetDriverVersion())
    except session.nvml.NVMLError:
        return ""


def gpus(*, fresh: bool = False, processes: bool = False) -> list[Device]:
    """Every GPU now; never raises. A GPU that does not answer is listed with its ``problem``.

    Args:
        fresh: look for GPUs again instead of reading the known ones.
        processes: list the processes on each, too.
    """
    session = _current(fresh=fresh)
    found = [_read(session.nvml, *row, processes=processes) for row in session.handles]
    if any(device.problem for device in found) and time.monotonic() - session.began > _RETRY_SECONDS:
        _current(fresh=True)
    _seen.update({device.id: device for device in found if not device.problem})
    return found


def _read(nvml: Any, id: str, handle: Any, problem: str, *, processes: bool) -> Device:
    if handle is None:
        return _lost(id, problem)

    def ask(question: Callable[..., Any], *arguments: Any) -> Any:
        """One reading; ``None`` where this device or driver does not give it."""
        try:
            return question(handle, *arguments)
        except nvml.NVMLError as failure:
            if getattr(failure, "value", None) in (nvml.NVML_ERROR_GPU_IS_LOST, nvml.NVML_ERROR_RESET_REQUIRED):
                raise
            return None

    try:
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        uuid = _text(nvml.nvmlDeviceGetUUID(handle))
        name = _text(nvml.nvmlDeviceGetName(handle))
        rates = ask(nvml.nvmlDeviceGetUtilizationRates)
        power, limit = ask(nvml.nvmlDeviceGetPowerUsage), ask(nvml.nvmlDeviceGetEnforcedPowerLimit)
        capability = ask(nvml.nvmlDeviceGetCudaComputeCapability)
        temperature = ask(nvml.nvmlDeviceGetTemperature, nvml.NVML_TEMPERATURE_GPU)
        running = _processes(ask, nvml) if processes else ()
    except nvml.NVMLError as failure:
        return _lost(id, _explain(nvml, failure))
    return Device(
        kind="cuda", vendor="nvidia", id=id, uuid=uuid, name=name, memory_total=int(memory.total), memory_free=int(memory.free),
        utilisation=None if rates is None else float(rates.gpu), temperature=None if temperature is None else float(temperature),
        power=None if power is None else power / 1000, power_limit=None if limit is None else limit / 1000,
        compute_capability=None if capability is None else (int(capability[0]), int(capability[1])),
        processes=running,
    )  # fmt: skip


def _processes(ask: Callable[..., Any], nvml: Any) -> tuple[DeviceProcess, ...]:
    """Who holds memory for computing or for graphics; a process may do both."""
    held = {
        process.pid: process.usedGpuMemory
        for question in (nvml.nvmlDeviceGetGraphicsRunningProcesses, nvml.nvmlDeviceGetComputeRunningProcesses)
        for process in ask(question) or ()
    }
    return tuple(describe(pid, memory) for pid, memory in sorted(held.items()))


def _lost(id: str, problem: str) -> Device:
    """A GPU that does not answer: who it was, if it ever did, and nothing that can be used."""
    if id not in _seen:
        return Device(kind="cuda", vendor="nvidia", id=id, uuid="", name=f"GPU {id}", memory_total=0, memory_free=0, problem=problem)
    return msgspec.structs.replace(
        _seen[id], memory_free=0, utilisation=None, temperature=None, power=None, processes=(), problem=problem
    )  # fmt: skip


def _text(value: str | bytes) -> str:
    return value.decode() if isinstance(value, bytes) else value
