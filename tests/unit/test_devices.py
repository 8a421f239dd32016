"""Devices: the CPU's real memory, and what ``--gpus`` selects, over a double of NVML with eight GPUs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import psutil
import pytest
from finetui.core.devices import cpu_device, list_devices, sample, select
from finetui.core.devices.cpu import control_group_memory
from finetui.core.errors import NotFound, UsageError

DOUBLE = Path(__file__).parent.parent / "support" / "nvml_double"

SCRIPT = """
import json, sys, msgspec
from finetui.core.devices import list_devices, sample, select, gpu_problem, driver_version
from finetui.core.errors import FineTUIError
answers = []
for call in json.loads(sys.argv[1]):
    try:
        found = {"list": list_devices, "sample": sample}[call]() if call in ("list", "sample") else select(call.removeprefix("select "))
        answers.append([msgspec.to_builtins(device) for device in found])
    except FineTUIError as problem:
        answers.append({**problem.to_dict(), "exit_code": problem.exit_code})
print(json.dumps({"answers": answers, "problem": gpu_problem(), "driver": driver_version(), "torch": "torch" in sys.modules}))
"""


def _with_double(*calls: str, **environment: str) -> dict[str, Any]:
    """Make the calls in a process that finds the double in the place of NVML's Python package."""
    clean = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, json.dumps(calls)],
        capture_output=True, text=True, timeout=60, env={**clean, "PYTHONPATH": str(DOUBLE), **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def _ids(devices: list[dict[str, Any]]) -> list[str]:
    return [device["id"] for device in devices]


def test_eight_gpus_are_listed_with_their_readings() -> None:
    answer = _with_double("list")
    devices = answer["answers"][0]
    assert _ids(devices) == [*(str(index) for index in range(8)), "cpu"] and not devices[-1]["problem"]
    third = devices[3]
    assert (
        (third["kind"], third["vendor"]) == ("cuda", "nvidia") and third["uuid"] == "GPU-00000003-double" and third["name"] == "Double 80GB"
    )
    assert third["memory_total"] == 80 * 10**9 and third["memory_free"] == 77 * 10**9
    assert (third["utilisation"], third["temperature"], third["power"], third["power_limit"]) == (30.0, 43.0, 103.5, 700.0)
    assert third["compute_capability"] == [9, 0]
    assert [(process["pid"], process["memory"]) for process in third["processes"]] == [(4003, 3 * 10**9)]
    assert answer["driver"] == "999.1" and not answer["problem"] and not answer["torch"]


def test_a_sample_leaves_processes_out() -> None:
    listed, sampled = _with_double("list", "sample")["answers"]
    assert _ids(sampled) == _ids(listed) and all(not device["processes"] for device in sampled)


def test_auto_takes_the_emptiest_first() -> None:
    assert _ids(_with_double("select auto")["answers"][0]) == [str(index) for index in range(8)]
    assert _ids(_with_double("select auto", DOUBLE_BUSY="0")["answers"][0])[-1] == "0"


def test_indices_and_uuids() -> None:
    both, uuid, prefix, twice = _with_double("select 5,1", "select GPU-00000002-double", "select GPU-00000004", "select 3,3")["answers"]
    assert (_ids(both), _ids(uuid), _ids(prefix), _ids(twice)) == (["5", "1"], ["2"], ["4"], ["3"])


def test_none_is_the_cpu_even_with_gpus() -> None:
    assert _ids(_with_double("select none")["answers"][0]) == ["cpu"]


def test_unknown_gpu() -> None:
    error = _with_double("select 8")["answers"][0]
    assert error["kind"] == "not_found" and "no GPU 8" in error["message"] and "7 (Double 80GB)" in error["hint"]


def test_ambiguous_uuid_and_malformed_list() -> None:
    ambiguous, malformed = _with_double("select GPU-0000000", "select 0,,1")["answers"]
    assert ambiguous["exit_code"] == 2 and "8 GPUs" in ambiguous["message"]
    assert malformed["exit_code"] == 2


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("2,6", ["2", "6"]), ("GPU-00000005-double", ["5"]), ("1,9,2", ["1"]), ("", ["cpu"]), ("-1", ["cpu"]), ("NoDevFiles", ["cpu"])],
)
def test_visible_devices_bound_what_auto_takes(variable: str, expected: list[str]) -> None:
    assert _ids(_with_double("select auto", CUDA_VISIBLE_DEVICES=variable)["answers"][0]) == expected


def test_a_hidden_gpu_is_refused() -> None:
    error = _with_double("select 3", CUDA_VISIBLE_DEVICES="2,6")["answers"][0]
    assert error["exit_code"] == 4 and "hidden by CUDA_VISIBLE_DEVICES=2,6" in error["message"] and error["hint"] == "visible GPUs: 2, 6"


def test_a_lost_gpu_is_listed_with_its_problem_and_never_chosen() -> None:
    listed, auto, asked = _with_double("list", "select auto", "select 2", DOUBLE_LOST="2")["answers"]
    assert len(listed) == 9 and "fallen off the bus" in listed[2]["problem"] and listed[2]["memory_total"] == 0
    assert "2" not in _ids(auto) and len(auto) == 7
    assert asked["exit_code"] == 4 and "does not work" in asked["message"]


def test_gpus_change_between_two_readings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory, a GPU that falls off the bus, one that must be reset, and one that answers again, all in one process."""
    state = tmp_path / "state.json"
    script = """
import json, sys, msgspec
from pathlib import Path
from finetui.core.devices import sample, select
state, readings = Path(sys.argv[1]), []
for change in json.loads(sys.argv[2]):
    state.write_text(json.dumps(change))
    readings.append([msgspec.to_builtins(device) for device in sample()])
    readings[-1].append([device.id for device in select("auto")])
print(json.dumps(readings))
"""
    changes = [{}, {"used": {"3": 50 * 10**9}}, {"errors": {"2": 15, "5": 16, "6": 999}}, {}]
    state.write_text("{}")
    monkeypatch.setenv("DOUBLE_STATE", str(state))
    monkeypatch.setenv("PYTHONPATH", str(DOUBLE))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    done = subprocess.run([sys.executable, "-c", script, str(state), json.dumps(changes)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    before, fuller, broken, after = json.loads(done.stdout)
    assert (before[3]["memory_free"], fuller[3]["memory_free"]) == (77 * 10**9, 30 * 10**9)
    assert fuller[-1][-1] == "3"
    lost = broken[2]
    assert (lost["uuid"], lost["name"], lost["memory_total"]) == ("GPU-00000002-double", "Double 80GB", 80 * 10**9)
    assert lost["memory_free"] == 0 and lost["utilisation"] is None and "fallen off the bus" in lost["problem"]
    assert "must be reset" in broken[5]["problem"] and "error 999" in broken[6]["problem"]
    assert broken[-1] == ["0", "1", "3", "4", "7"] and _ids(broken[:-1]) == _ids(before[:-1])
    assert after[:8] == before[:8] and after[-1] == before[-1]


def test_processes_on_a_gpu_are_ours_or_somebodys(tmp_path: Path) -> None:
    tagged = {**os.environ, "FINETUI_RUN": "01RUN"}
    sleeper = [sys.executable, "-c", "import time; time.sleep(60)"]
    ours, theirs = subprocess.Popen(sleeper, env=tagged), subprocess.Popen(sleeper)
    try:
        state = tmp_path / "state.json"
        state.write_text(json.dumps({"processes": {"0": [[ours.pid, 5], [theirs.pid, None], [2**22 + 1, 7]]}}))
        found = {process["pid"]: process for process in _with_double("list", DOUBLE_STATE=str(state))["answers"][0][0]["processes"]}
    finally:
        for process in (ours, theirs):
            process.kill()
            process.wait()
    me = psutil.Process().username()
    assert (found[ours.pid]["run"], found[ours.pid]["memory"], found[ours.pid]["user"]) == ("01RUN", 5, me)
    assert (found[theirs.pid]["run"], found[theirs.pid]["memory"]) == ("", None) and found[theirs.pid]["name"].startswith("python")
    assert found[2**22 + 1] == {"pid": 2**22 + 1, "memory": 7, "name": "", "user": "", "run": ""}


def test_readings_a_gpu_does_not_give_are_unknown() -> None:
    device = _with_double("list", DOUBLE_SILENT="1")["answers"][0][0]
    assert device["utilisation"] is None and device["temperature"] is None and device["memory_total"] == 80 * 10**9


def test_a_gpu_in_mig_mode_is_listed_by_its_slices() -> None:
    listed, chosen = _with_double("list", "select 1:1", DOUBLE_MIG="1")["answers"]
    assert _ids(listed) == ["0", "1:0", "1:1", "2", "3", "4", "5", "6", "7", "cpu"]
    assert chosen[0]["uuid"] == "MIG-00000001-1" and chosen[0]["memory_total"] == 10 * 10**9


@pytest.mark.parametrize(("code", "sentence"), [("9", "not loaded"), ("18", "updated without a restart"), ("12", "no NVIDIA driver")])
def test_a_broken_driver_leaves_the_cpu_and_the_reason(code: str, sentence: str) -> None:
    answer = _with_double("list", "select auto", "select 0", DOUBLE_INIT_ERROR=code)
    listed, auto, asked = answer["answers"]
    assert _ids(listed) == _ids(auto) == ["cpu"] and sentence in listed[0]["problem"] and sentence in answer["problem"]
    assert asked["kind"] == "not_found" and sentence in asked["message"]


def test_this_machine_has_something_to_train_on() -> None:
    for found in (list_devices(), sample(), select("auto")):
        assert found and all(device.memory_total > 0 for device in found if device.usable)
    with pytest.raises((NotFound, UsageError)):
        select("999")


def test_the_cpu() -> None:
    device = cpu_device("because")
    assert device.kind == "cpu" and device.cores >= 1 and device.problem == "because" and device.usable
    assert 0 < device.memory_free <= device.memory_total
    assert device.memory_used == device.memory_total - device.memory_free
    assert cpu_device().utilisation is not None  # the second reading has something to compare with


def _write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def test_control_group_version_2_takes_the_tightest_of_all_parents(tmp_path: Path) -> None:
    _write(tmp_path / "cgroup", "0::/slurm/job7/step0\n")
    _write(tmp_path / "fs/slurm/memory.max", "8000000000\n")
    _write(tmp_path / "fs/slurm/job7/memory.max", "2000000000\n")
    _write(tmp_path / "fs/slurm/job7/memory.current", "700000000\n")
    _write(tmp_path / "fs/slurm/job7/memory.stat", "anon 1\ninactive_file 200000000\n")
    _write(tmp_path / "fs/slurm/job7/step0/memory.max", "max\n")
    assert control_group_memory(tmp_path / "cgroup", tmp_path / "fs") == (2_000_000_000, 500_000_000)


def test_control_group_version_1(tmp_path: Path) -> None:
    _write(tmp_path / "cgroup", "5:devices:/x\n4:memory:/job\n0::/\n")
    _write(tmp_path / "fs/memory/job/memory.limit_in_bytes", "3000000000\n")
    _write(tmp_path / "fs/memory/job/memory.usage_in_bytes", "1000000000\n")
    _write(tmp_path / "fs/memory/memory.limit_in_bytes", "9223372036854771712\n")
    assert control_group_memory(tmp_path / "cgroup", tmp_path / "fs") == (3_000_000_000, 1_000_000_000)


def test_no_control_group(tmp_path: Path) -> None:
    assert control_group_memory(tmp_path / "absent", tmp_path) == (None, 0)
    _write(tmp_path / "cgroup", "0::/\n")
    assert control_group_memory(tmp_path / "cgroup", tmp_path / "fs") == (None, 0)
