"""What this machine can train on: NVIDIA, AMD and Apple GPUs, and the CPU. No torch, no CUDA context."""

from .amd import rocm_version
from .choosing import environment_of, list_devices, sample, select
from .cpu import cpu_device
from .device import Device, DeviceProcess
from .nvidia import driver_version, gpu_problem

__all__ = [
    "Device", "DeviceProcess", "cpu_device", "driver_version", "environment_of", "gpu_problem", "list_devices", "rocm_version", "sample",
    "select",
]  # fmt: skip
