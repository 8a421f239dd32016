"""The doctor names what is missing and never shows a token."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from finetui.core import doctor
from finetui.core.devices import Device
from finetui.core.doctor import Check, checks, probe_torch
from finetui.core.paths import Home


def _rows(home: Path) -> dict[str, Check]:
    return {row.name: row for row in checks(Home(home))}


def test_a_working_machine_has_no_failure(tmp_path: Path) -> None:
    rows = _rows(tmp_path / "home")
    failed = [row for row in rows.values() if row.state == "fail" and not row.name.startswith("gpu")]
    assert not failed
    assert {"python", "platform", "torch", "transformers", "peft", "bitsandbytes", "home", "disk", "hub", "plugins", "terminal"} <= set(
        rows
    )
    assert not (tmp_path / "home").exists()


def test_importing_and_checking_loads_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from finetui.core.doctor import checks; from finetui.core.paths import Home;"
        f"checks(Home(Path({str(tmp_path)!r}))); print([m for m in ('torch','transformers','peft','datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_token_is_found_and_not_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _rows(tmp_path)["hub login"].state == "warn"
    file = Path(os.environ["HF_HOME"]) / "token"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("hf_secret")
    assert _rows(tmp_path)["hub login"] == Check("hub login", "ok", f"a token is in {file}")
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    rows = _rows(tmp_path)
    assert rows["hub login"].detail == "a token is in HF_TOKEN"
    assert "hf_secret" not in repr(rows)


def test_endpoint_and_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    row = _rows(tmp_path)["hub"]
    assert row.state == "warn" and row.detail.startswith("http://127.0.0.1:9")
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert _rows(tmp_path)["hub"].state == "ok"


def test_a_home_that_cannot_be_written(monkeypatch: pytest.MonkeyPatch) -> None:
    row = _rows(Path("/proc/finetui"))["home"]
    assert row.state == "fail" and "/proc/finetui cannot be written" in row.detail and "--home" in row.hint


@pytest.mark.parametrize(("free", "state"), [(5 * 10**8, "fail"), (5 * 10**9, "warn"), (5 * 10**10, "ok")])
def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free: int, state: str) -> None:
    usage = type(doctor.shutil.disk_usage(tmp_path))(10**12, 10**12 - free, free)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: usage)
    assert _rows(tmp_path)["disk"].state == state


def test_a_missing_package_is_a_failure_with_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "_NEEDED", ("torch", "not-a-package-of-anyone"))
    row = _rows(tmp_path)["not-a-package-of-anyone"]
    assert (row.state, row.detail, row.hint) == ("fail", "not installed", "pip install not-a-package-of-anyone")


def test_terminals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    assert _rows(tmp_path)["terminal"].state == "warn"
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLORTERM", "truecolor")
    assert "16 million" in _rows(tmp_path)["terminal"].detail


def test_logind_that_kills_at_logout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "nobody-with-lingering")
    etc, usr = tmp_path / "etc", tmp_path / "usr"
    for root in (etc, usr):
        (root / "logind.conf.d").mkdir(parents=True)
    (etc / "logind.conf").write_text("[Login]\n#KillUserProcesses=yes\n")
    assert doctor._logind((etc, usr)).state == "ok"
    (usr / "logind.conf.d" / "50-kill.conf").write_text("[Login]\nKillUserProcesses=yes\n")
    row = doctor._logind((etc, usr))
    assert row.state == "warn" and row.hint == "loginctl enable-linger"
    (etc / "logind.conf.d" / "50-kill.conf").write_text("[Login]\nKillUserProcesses=no\n")
    assert doctor._logind((etc, usr)).state == "ok"


def test_probe_asks_the_real_torch() -> None:
    row = probe_torch()
    assert row.state == "ok" and ("CPU" in row.detail or "CUDA" in row.detail)


def test_probe_reports_a_torch_without_the_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    answer = '{"cuda": false, "devices": 0, "built": "", "bf16": true}'
    monkeypatch.setattr(doctor, "_PROBE", f"print({answer!r})")
    gpu = Device(kind="cuda", id="0", uuid="GPU-0", name="GPU", memory_total=1, memory_free=1)
    row = probe_torch([gpu])
    assert row.state == "fail" and "built without CUDA" in row.detail
    monkeypatch.setattr(doctor, "_PROBE", "raise ImportError('libcudart is missing')")
    assert "libcudart is missing" in probe_torch([gpu]).detail
