"""A double of the part of NVML that FineTUI uses: eight GPUs, steered by environment variables, found first on ``sys.path``.

``DOUBLE_BUSY``, ``DOUBLE_LOST``, ``DOUBLE_MIG``: the index of a GPU that is full, lost, or divided into two slices.
``DOUBLE_SILENT``: optional readings are not supported. ``DOUBLE_INIT_ERROR``: the error code that initialising ends with.

``DOUBLE_STATE``: a JSON file that is read anew at every question, so that things change between two readings, in every process:
``{"used": {"0": bytes}, "errors": {"2": code}, "processes": {"1": [[pid, bytes], …]}}``, all by index. A GPU with an error answers
every question with it.
"""

import json
import os
from types import SimpleNamespace
from typing import Any

NVML_ERROR_NOT_SUPPORTED = 3
NVML_ERROR_NO_PERMISSION = 4
NVML_ERROR_NOT_FOUND = 6
NVML_ERROR_DRIVER_NOT_LOADED = 9
NVML_ERROR_LIBRARY_NOT_FOUND = 12
NVML_ERROR_GPU_IS_LOST = 15
NVML_ERROR_RESET_REQUIRED = 16
NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18
NVML_DEVICE_MIG_ENABLE = 1
NVML_TEMPERATURE_GPU = 0


class NVMLError(Exception):
    """As in the real package: the code is in ``value``."""

    def __init__(self, value: int) -> None:
        super().__init__(f"error {value}")
        self.value = value


def _is(variable: str, handle: object) -> bool:
    return os.environ.get(variable) == str(handle)


def _state(part: str, handle: object) -> Any:
    """What ``DOUBLE_STATE`` says about a GPU now; ``None`` where it says nothing."""
    if "DOUBLE_STATE" not in os.environ:
        return None
    with open(os.environ["DOUBLE_STATE"]) as file:
        return json.load(file).get(part, {}).get(str(handle))


def _ask(handle: object) -> None:
    """Every question to a GPU begins here."""
    code = _state("errors", handle)
    if code is not None:
        raise NVMLError(code)


def _optional(value: object) -> object:
    if os.environ.get("DOUBLE_SILENT"):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return value


def nvmlInit() -> None:
    if "DOUBLE_INIT_ERROR" in os.environ:
        raise NVMLError(int(os.environ["DOUBLE_INIT_ERROR"]))


def nvmlSystemGetDriverVersion() -> str:
    return "999.1"


def nvmlDeviceGetCount() -> int:
    return 8


def nvmlDeviceGetHandleByIndex(index: int) -> object:
    if _is("DOUBLE_LOST", index):
        raise NVMLError(NVML_ERROR_GPU_IS_LOST)
    _ask(index)
    return index


def nvmlDeviceGetMigMode(handle: object) -> list[int]:
    if not _is("DOUBLE_MIG", handle):
        raise NVMLError(NVML_ERROR_NOT_SUPPORTED)
    return [NVML_DEVICE_MIG_ENABLE, NVML_DEVICE_MIG_ENABLE]


def nvmlDeviceGetMaxMigDeviceCount(handle: object) -> int:
    return 7


def nvmlDeviceGetMigDeviceHandleByIndex(handle: int, number: int) -> object:
    if number >= 2:
        raise NVMLError(NVML_ERROR_NOT_FOUND)
    return (handle, number)


def nvmlDeviceGetMemoryInfo(handle: object) -> SimpleNamespace:
    _ask(handle)
    if isinstance(handle, tuple):
        return SimpleNamespace(total=10 * 10**9, free=9 * 10**9)
    used = _state("used", handle)
    if used is None:
        used = (79 if _is("DOUBLE_BUSY", handle) else int(str(handle))) * 10**9
    return SimpleNamespace(total=80 * 10**9, free=80 * 10**9 - used)


def nvmlDeviceGetUUID(handle: object) -> str:
    return f"MIG-0000000{handle[0]}-{handle[1]}" if isinstance(handle, tuple) else f"GPU-0000000{handle}-double"


def nvmlDeviceGetName(handle: object) -> bytes:
    return b"Double 80GB"


def nvmlDeviceGetUtilizationRates(handle: object) -> object:
    return _optional(SimpleNamespace(gpu=10 * handle if isinstance(handle, int) else 0))


def nvmlDeviceGetPowerUsage(handle: object) -> object:
    return _optional(100_500 + 1000 * handle if isinstance(handle, int) else 0)


def nvmlDeviceGetEnforcedPowerLimit(handle: object) -> object:
    return _optional(700_000)


def nvmlDeviceGetTemperature(handle: object, sensor: int) -> object:
    return _optional(40 + handle if isinstance(handle, int) else 40)


def nvmlDeviceGetCudaComputeCapability(handle: object) -> tuple[int, int]:
    return (9, 0)


def nvmlDeviceGetGraphicsRunningProcesses(handle: object) -> list[SimpleNamespace]:
    return []


def nvmlDeviceGetComputeRunningProcesses(handle: object) -> list[SimpleNamespace]:
    running = _state("processes", handle)
    if running is not None:
        return [SimpleNamespace(pid=pid, usedGpuMemory=used) for pid, used in running]
    if not isinstance(handle, int) or not handle:
        return []
    return [SimpleNamespace(pid=4000 + handle, usedGpuMemory=handle * 10**9)]
