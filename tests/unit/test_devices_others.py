"""AMD GPUs over a sysfs tree written by the test, as the kernel's drivers lay it out, and Apple's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from finetui.core import doctor
from finetui.core.devices import amd, apple, choosing, environment_of, list_devices, sample, select
from finetui.core.errors import Refused, UsageError

GIB = 1 << 30


class Sysfs:
    """A tree of ``/sys`` with AMD GPUs in it."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def write(self, path: str, text: object) -> None:
        file = self.root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{text}\n")

    def gpu(self, card: int, *, node: int, address: str, total: int = 64 * GIB, used: int = GIB, **files: object) -> None:
        """A card at a PCI address, its node in ROCm's topology, and what else it tells, by path under the device."""
        device = f"devices/pci0000:00/{address}"
        minor = 128 + card
        common = {"vendor": "0x1002", "device": "0x740f", "revision": "0x02", "mem_info_vram_total": total, "mem_info_vram_used": used}
        for name, text in {**common, **{name.replace("__", "/"): text for name, text in files.items()}}.items():
            self.write(f"{device}/{name}", text)
        (self.root / device / f"drm/renderD{minor}").mkdir(parents=True)
        link = self.root / f"class/drm/card{card}"
        link.mkdir(parents=True)
        (link / "device").symlink_to(self.root / device)
        self.write(f"class/kfd/kfd/topology/nodes/{node}/gpu_id", 40000 + node)
        self.write(f"class/kfd/kfd/topology/nodes/{node}/properties", f"cpu_cores_count 0\nsimd_count 416\ndrm_render_minor {minor}")


@pytest.fixture
def sysfs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Sysfs:
    """A machine with a CPU node and a card of another maker, and a torch that was built for ROCm."""
    tree = Sysfs(tmp_path / "sys")
    tree.write("class/kfd/kfd/topology/nodes/0/gpu_id", 0)
    tree.write("class/kfd/kfd/topology/nodes/0/properties", "cpu_cores_count 64\nsimd_count 0")
    tree.write("class/drm/card9/device/vendor", "0x1a03")
    monkeypatch.setattr(amd, "SYS", tree.root)
    monkeypatch.setattr(amd, "NAMES", tmp_path / "amdgpu.ids")
    monkeypatch.setattr(amd, "rocm_version", lambda: "6.4")
    for name in ("CUDA", "HIP", "ROCR"):
        monkeypatch.delenv(f"{name}_VISIBLE_DEVICES", raising=False)
    return tree


@pytest.fixture
def pair(sysfs: Sysfs) -> Sysfs:
    """Two GPUs; ROCm counts them the other way round than the kernel counts cards."""
    sysfs.gpu(0, node=2, address="0000:83:00.0", unique_id="b")
    sysfs.gpu(1, node=1, address="0000:03:00.0", unique_id="a", used=9 * GIB)
    return sysfs


def test_what_sysfs_tells(sysfs: Sysfs) -> None:
    sysfs.gpu(
        1, node=1, address="0000:03:00.0", gpu_busy_percent=87, unique_id="a1b2c3d4e5f60718", hwmon__hwmon4__temp1_input=61000,
        hwmon__hwmon4__power1_average=211_500_000, hwmon__hwmon4__power1_cap=300_000_000, product_name="AMD Instinct MI210",
    )  # fmt: skip
    gpu, cpu = sample()
    assert (gpu.kind, gpu.vendor, gpu.id, gpu.uuid, gpu.name) == ("cuda", "amd", "0", "AMD-a1b2c3d4e5f60718", "AMD Instinct MI210")
    assert (gpu.memory_total, gpu.memory_used) == (64 * GIB, GIB)
    assert (gpu.utilisation, gpu.temperature, gpu.power, gpu.power_limit) == (87.0, 61.0, 211.5, 300.0)
    assert gpu.usable and cpu.kind == "cpu" and not cpu.problem


def test_what_a_board_does_not_tell_is_unknown_and_newer_kernels_call_power_otherwise(sysfs: Sysfs, tmp_path: Path) -> None:
    (tmp_path / "amdgpu.ids").write_text("# names\n1.0.0\n740F,\t01,\tAMD Wrong\n740F,\t02,\tAMD Right, 64 GB\n")
    sysfs.gpu(0, node=1, address="0000:c3:00.0", hwmon__hwmon0__power1_input=45_000_000)
    gpu = sample()[0]
    assert (gpu.name, gpu.uuid, gpu.power) == ("AMD Right, 64 GB", "AMD-0000:c3:00.0", 45.0)
    assert gpu.utilisation is None and gpu.temperature is None and gpu.power_limit is None


def test_indices_are_those_of_rocm(pair: Sysfs) -> None:
    assert [(device.id, device.uuid) for device in sample()[:2]] == [("0", "AMD-a"), ("1", "AMD-b")]
    assert [device.uuid for device in select("auto")] == ["AMD-b", "AMD-a"]  # most free memory first
    assert [device.uuid for device in select("0")] == ["AMD-a"] and select("AMD-b")[0].id == "1"
    assert environment_of(["AMD-b"]) == {"ROCR_VISIBLE_DEVICES": "1", "HIP_VISIBLE_DEVICES": "0", "CUDA_VISIBLE_DEVICES": "0"}
    assert environment_of(["AMD-b", "AMD-a"])["ROCR_VISIBLE_DEVICES"] == "1,0"
    assert environment_of(["cpu"]) == {"CUDA_VISIBLE_DEVICES": "", "HIP_VISIBLE_DEVICES": "-1"}


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"ROCR": "1"}, ["AMD-b"]), ({"ROCR": "GPU-b"}, ["AMD-b"]), ({"HIP": "0"}, ["AMD-a"]), ({"CUDA": "0"}, ["AMD-a"]),
        ({"ROCR": "1", "HIP": "0"}, ["AMD-b"]), ({"ROCR": "1", "HIP": "1"}, ["cpu"]), ({"HIP": "-1"}, ["cpu"]),
        ({"HIP": "1", "CUDA": "0"}, ["AMD-b"]),
    ],
)  # fmt: skip
def test_rocm_s_variables_bound_the_choice(
    pair: Sysfs, monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], expected: list[str]
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(f"{name}_VISIBLE_DEVICES", value)
    assert [device.uuid for device in select("auto")] == expected
    if expected == ["AMD-b"]:
        with pytest.raises(Refused, match="hidden by .*VISIBLE_DEVICES"):
            select("0")


def test_processes_come_from_the_compute_driver(pair: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.write(f"class/kfd/kfd/proc/{os.getpid()}/vram_40001", 3 * GIB)
    pair.write(f"class/kfd/kfd/proc/{os.getpid()}/vram_40002", 0)
    first, second = list_devices()[:2]
    assert [(process.pid, process.memory, process.run) for process in first.processes] == [(os.getpid(), 3 * GIB, "")]
    assert second.processes == () and sample()[0].processes == ()
    assert any("held by python" in row.detail and "3.2 GB" in row.detail for row in doctor._devices(list_devices()))


def test_a_gpu_that_stops_answering_keeps_its_row(pair: Sysfs) -> None:
    (pair.root / "devices/pci0000:00/0000:03:00.0/mem_info_vram_used").unlink()
    lost, other = sample()[:2]
    assert (lost.uuid, lost.memory_free, lost.problem) == ("AMD-a", 0, "the driver does not answer") and other.usable
    assert [device.uuid for device in select("auto")] == ["AMD-b"]


def test_without_torch_for_rocm_the_cpu_is_taken_and_the_doctor_says_why(pair: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The small GPU in a processor must not stop training on the CPU."""
    monkeypatch.setattr(amd, "rocm_version", lambda: "")
    monkeypatch.setattr(doctor, "rocm_version", lambda: "")
    assert [device.uuid for device in select("auto")] == ["cpu"] and "not built for ROCm" in sample()[-1].problem
    rows = {row.name: row for row in doctor._devices(list_devices())}
    assert rows["gpu 0"].state == rows["gpu"].state == "warn" and "ROCm" in rows["gpu 0"].hint


def test_both_makers_in_one_machine(pair: Sysfs, monkeypatch: pytest.MonkeyPatch) -> None:
    nvidia = [device for device in sample() if device.kind == "cuda"][:1]
    nvidia = [type(nvidia[0])(kind="cuda", vendor="nvidia", id="0", uuid="GPU-x", name="N", memory_total=9, memory_free=1)]
    monkeypatch.setattr(choosing.nvidia, "gpus", lambda **_: nvidia)
    assert [device.id for device in sample()] == ["0", "amd:0", "amd:1", "cpu"]
    assert [device.uuid for device in select("auto")] == ["GPU-x"]
    assert environment_of([device.uuid for device in select("amd:1")])["ROCR_VISIBLE_DEVICES"] == "1"
    with pytest.raises(UsageError, match="two makers"):
        select("0,amd:0")


def test_apple_silicon(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert apple.gpus() == []
    tool = tmp_path / "bin" / "sysctl"
    tool.parent.mkdir()
    tool.write_text('#!/bin/sh\n[ "$*" = "-n machdep.cpu.brand_string" ] && echo "Apple M2 Max"\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(apple.sys, "platform", "darwin")
    monkeypatch.setattr(apple.platform, "machine", lambda: "arm64")
    apple._name.cache_clear()
    (gpu,) = apple.gpus()
    assert (gpu.kind, gpu.id, gpu.name) == ("mps", "mps", "Apple M2 Max") and gpu.memory_total > gpu.memory_free > 0


def test_the_build_of_torch_is_read_without_importing_it() -> None:
    assert amd._HIP.search("hip: Optional[str] = '6.4.43482'\n")[1] == "6.4.43482"  # type: ignore[index]
    assert amd._HIP.search("cuda: Optional[str] = None\nhip: Optional[str] = None\n") is None
    assert isinstance(amd.rocm_version(), str)
