"""What this machine can train on: NVIDIA GPUs through NVML, else the CPU. No torch, no CUDA context."""

from .choosing import list_devices, sample, select
from .cpu import cpu_device
from .device import Device, DeviceProcess
from .nvidia import driver_version, gpu_problem

__all__ = ["Device", "DeviceProcess", "cpu_device", "driver_version", "gpu_problem", "list_devices", "sample", "select"]
