"""AMD GPUs through sysfs: what the kernel's ``amdgpu`` and ``amdkfd`` drivers tell everyone, without a library.

ROCm numbers GPUs by the nodes of ``amdkfd``'s topology; a graphics card is matched with its node by its render node's number
(https://docs.kernel.org/gpu/amdgpu/driver-misc.html, https://rocm.docs.amd.com/en/latest/conceptual/gpu-isolation.html).
"""

from __future__ import annotations

import importlib.util
import re
from functools import cache
from pathlib import Path

from .device import Device, DeviceProcess
from .processes import describe

SYS = Path("/sys")
NAMES = Path("/usr/share/libdrm/amdgpu.ids")
"""``device id, revision, product name`` a line, in hexadecimal; part of libdrm."""

PREFIX = "amd:"
"""Before ROCm's index where there are NVIDIA GPUs as well."""

_VENDOR = "0x1002"
_HIP = re.compile(r"^hip\b[^=]*=\s*['\"](.+)['\"]", re.MULTILINE)


def gpus(*, processes: bool = False, root: Path | None = None, names: Path | None = None) -> list[Device]:
    """Every AMD GPU now, in ROCm's order; never raises.

    Args:
        processes: list the processes on each, too.
        root: where sysfs is mounted.
        names: the table of product names.
    """
    root, names = root or SYS, names or NAMES
    nodes = _nodes(root)
    cards = [folder for folder in (root / "class/drm").glob("card*/device") if _text(folder / "vendor") == _VENDOR]
    found = [(nodes.get(_render_minor(card), (len(nodes), 0)), card) for card in cards if _number(card / "mem_info_vram_total")]
    found.sort(key=lambda pair: (pair[0][0], pair[1].resolve().name))
    return [_read(card, index, names, _processes(root, gpu_id) if processes else ()) for index, ((_, gpu_id), card) in enumerate(found)]


def _nodes(root: Path) -> dict[int, tuple[int, int]]:
    """Of every GPU that ROCm can compute on: minor number of its render node → (ROCm's index, the driver's id)."""
    nodes = []
    for folder in (root / "class/kfd/kfd/topology/nodes").glob("*"):
        properties = dict(line.split(None, 1) for line in _text(folder / "properties").splitlines() if " " in line)
        gpu_id = _number(folder / "gpu_id")
        if folder.name.isdigit() and gpu_id:  # the CPUs are nodes as well; their id is 0
            nodes.append((int(folder.name), int(properties.get("drm_render_minor", -1)), gpu_id))
    return {minor: (index, gpu_id) for index, (_, minor, gpu_id) in enumerate(sorted(nodes))}


def _render_minor(card: Path) -> int:
    """Number of the card's render node (``renderD128``); -1 where it has none."""
    return next((int(path.name.removeprefix("renderD")) for path in (card / "drm").glob("renderD*")), -1)


def _read(card: Path, index: int, names: Path, processes: tuple[DeviceProcess, ...]) -> Device:
    address = card.resolve().name
    total, used = _number(card / "mem_info_vram_total"), _number(card / "mem_info_vram_used")
    sensors = next(iter(sorted((card / "hwmon").glob("hwmon*"))), card)
    temperature, limit = _number(sensors / "temp1_input"), _number(sensors / "power1_cap")
    power = _number(sensors / "power1_average") or _number(sensors / "power1_input")
    problem = "" if rocm_version() else "this torch is not built for ROCm"
    if total is None or used is None:
        total, problem = total or 0, "the driver does not answer"
        used = total
    busy = _number(card / "gpu_busy_percent")
    return Device(
        kind="cuda", vendor="amd", id=str(index), uuid=f"AMD-{_text(card / 'unique_id') or address}", name=_name(card, names),
        memory_total=total, memory_free=max(0, total - used), utilisation=None if busy is None else float(busy),
        temperature=None if temperature is None else temperature / 1000, power=None if power is None else power / 1e6,
        power_limit=None if limit is None else limit / 1e6, processes=processes, problem=problem,
    )  # fmt: skip


def _name(card: Path, names: Path) -> str:
    """What the board calls itself, else what libdrm calls it, else its number."""
    device, revision = _text(card / "device").removeprefix("0x"), _text(card / "revision").removeprefix("0x")
    wanted = (device.upper(), revision.upper().zfill(2))
    for line in _text(names).splitlines():
        parts = [part.strip() for part in line.split(",", 2)]
        if (parts[0].upper(), *parts[1:2]) == wanted:
            return _text(card / "product_name") or parts[2]
    return _text(card / "product_name") or f"AMD GPU {device}"


def _processes(root: Path, gpu_id: int) -> tuple[DeviceProcess, ...]:
    """Who computes on the GPU with the driver's id ``gpu_id``; graphics only, without ROCm, is not told."""
    found = []
    for file in (root / "class/kfd/kfd/proc").glob(f"*/vram_{gpu_id}"):
        memory = _number(file)
        if memory and file.parent.name.isdigit():
            found.append(describe(int(file.parent.name), memory))
    return tuple(sorted(found, key=lambda process: process.pid))


@cache
def rocm_version() -> str:
    """The ROCm that the installed torch was built for; empty for another build. Read from its files: importing it takes seconds."""
    try:
        spec = importlib.util.find_spec("torch")
        text = Path(spec.origin).with_name("version.py").read_text() if spec and spec.origin else ""
    except (OSError, ValueError):
        return ""
    found = _HIP.search(text)
    return found[1] if found else ""


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace").strip()
    except OSError:  # not given by this board, or the GPU does not answer
        return ""


def _number(file: Path) -> int | None:
    text = _text(file)
    return int(text) if text.isdigit() else None
