"""One device, as the screen, the planner and the launcher see it."""

from __future__ import annotations

from typing import Literal

import msgspec


class DeviceProcess(msgspec.Struct, frozen=True):
    """A process that holds memory of a GPU, whoever owns it.

    Attributes:
        memory: bytes; ``None`` where the driver does not tell.
        name: of the program; empty where it cannot be read (in a container the driver names processes outside it).
        user: who runs it; empty where unknown.
        run: id of the run that it belongs to; empty: it is not ours.
    """

    pid: int
    memory: int | None
    name: str = ""
    user: str = ""
    run: str = ""


class Device(msgspec.Struct, frozen=True, kw_only=True):
    """A GPU, a MIG slice of one, or the CPU with the machine's memory. Readings are of the moment it was made.

    Attributes:
        kind: as torch calls it; ROCm's torch calls AMD's GPUs ``cuda`` too.
        vendor: who made a GPU.
        id: as ``--gpus`` takes it: the index that ``nvidia-smi`` shows, ``0:1`` for slice 1 of GPU 0, for AMD ROCm's index (after
            ``amd:`` where there are GPUs of both), ``mps`` or ``cpu``.
        uuid: ``GPU-…`` or ``MIG-…`` (NVIDIA), ``AMD-…``; ``mps``, ``cpu``.
        memory_total: bytes; for the CPU the machine's memory or the control group's limit, whichever is smaller; for Apple's GPU the
            memory that it shares with the CPU.
        memory_free: bytes that can be had now.
        utilisation: percent of the time busy; ``None`` where unknown.
        temperature: degrees Celsius.
        power: watts drawn.
        power_limit: watts allowed.
        compute_capability: of an NVIDIA GPU, ``(9, 0)`` for Hopper; bfloat16 needs ``(8, 0)``.
        cores: of the CPU, those this process may use.
        processes: who holds memory of a GPU, where that was asked for.
        problem: why it cannot be used; for the CPU, why no GPU can. Empty otherwise.
    """

    kind: Literal["cuda", "mps", "cpu"]
    vendor: Literal["nvidia", "amd", "apple", ""] = ""
    id: str
    uuid: str
    name: str
    memory_total: int
    memory_free: int
    utilisation: float | None = None
    temperature: float | None = None
    power: float | None = None
    power_limit: float | None = None
    compute_capability: tuple[int, int] | None = None
    cores: int = 0
    processes: tuple[DeviceProcess, ...] = ()
    problem: str = ""

    @property
    def memory_used(self) -> int:
        """Bytes taken, by whomever."""
        return max(0, self.memory_total - self.memory_free)

    @property
    def usable(self) -> bool:
        """Whether a run can be put on it: the CPU always, a GPU unless it has a problem."""
        return self.kind == "cpu" or not self.problem
