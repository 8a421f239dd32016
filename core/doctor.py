"""What works on this machine, what does not, why, and what to do about it. Imports no torch; a probe of it is a subprocess."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Literal

import msgspec

from . import registry
from .config import load_settings, webhook_host
from .devices import Device, DeviceProcess, driver_version, list_devices, rocm_version
from .errors import UsageError
from .paths import Home, config_file

State = Literal["ok", "warn", "fail"]

_NEEDED = ("torch", "transformers", "peft", "accelerate", "safetensors", "huggingface_hub", "textual")
_LOW_DISK, _NO_DISK = 10_000_000_000, 1_000_000_000
_PROBE_SECONDS = 120
_PROBE = """
import json, torch
cuda, names = torch.cuda.is_available(), {"CUDA": torch.version.cuda, "ROCm": torch.version.hip}
built = " ".join(f"{name} {number}" for name, number in names.items() if number)
bf16 = torch.cuda.is_bf16_supported(including_emulation=False) if cuda else any(
    torch.cpu.get_capabilities().get(name) for name in ("avx512_bf16", "amx_bf16", "arm_bf16", "bf16"))
print(json.dumps({"cuda": cuda, "devices": torch.cuda.device_count(), "built": built, "bf16": bool(bf16)}))
"""


class Check(msgspec.Struct, frozen=True):
    """One thing looked at.

    Attributes:
        state: ``ok``; ``warn``: something is missing that not everyone needs; ``fail``: the app cannot do its work.
        detail: what was found.
        hint: what to do; empty where nothing is to be done.
    """

    name: str
    state: State
    detail: str
    hint: str = ""


def checks(home: Home, *, probe: bool = False) -> list[Check]:
    """Look at everything; takes well under a second without ``probe``.

    Args:
        probe: also start a process that imports torch and asks it for CUDA and bfloat16 (seconds).
    """
    found = list_devices()
    rows = [
        _python(), _platform(), *_devices(found), *_packages(), _home(home), _disk(home), *_hub(), *_plugins(), _terminal(), _notify(),
        _logind(),
    ]  # fmt: skip
    return [*rows, probe_torch(found)] if probe else rows


def _python() -> Check:
    return Check("python", "ok", f"{platform.python_version()} at {sys.executable}")


def _platform() -> Check:
    detail = f"{platform.system()} {platform.release()} {platform.machine()}"
    if platform.system() != "Linux":
        return Check("platform", "warn", detail, "runs are supervised through Linux's /proc and flocks; other systems are not tried")
    return Check("platform", "ok", detail)


def _devices(found: list[Device]) -> Iterator[Check]:
    for device in found:
        if device.kind == "cpu":
            memory = f"{device.memory_free / 1e9:.1f} of {device.memory_total / 1e9:.1f} GB free"
            yield Check("cpu", "ok", f"{device.name}, {device.cores} cores, {memory}")
            if device.problem:
                hint = "training runs on the CPU: slow for models above some hundred million parameters"
                yield Check("gpu", "warn", device.problem, hint)
        elif device.problem and device.vendor == "amd" and not rocm_version():  # a small GPU beside the CPU is no failure
            yield Check(
                f"gpu {device.id}", "warn", f"{device.name}: {device.problem}", "the torch build for ROCm uses it: https://pytorch.org"
            )
        elif device.problem:
            yield Check(f"gpu {device.id}", "fail", device.problem, "`nvidia-smi` and `dmesg` tell more; a restart may help")
        else:
            yield Check(f"gpu {device.id}", "ok", _gpu_text(device))
    driver = driver_version()
    if driver:
        yield Check("driver", "ok", f"NVIDIA {driver}")


def _gpu_text(device: Device) -> str:
    parts = [device.name, f"{device.memory_free / 1e9:.1f} of {device.memory_total / 1e9:.1f} GB free"]
    if device.temperature is not None:
        parts.append(f"{device.temperature:.0f} °C")
    if device.processes:
        parts.append("held by " + ", ".join(_holder(process) for process in device.processes))
    if device.compute_capability is not None and device.compute_capability < (8, 0):
        parts.append("no bfloat16: float16 is used")
    return ", ".join(parts)


def _holder(process: DeviceProcess) -> str:
    """A process on a GPU: whose it is, and how much it holds."""
    who = f"run {process.run}" if process.run else " of ".join(filter(None, (process.name or f"process {process.pid}", process.user)))
    return who if process.memory is None else f"{who} ({process.memory / 1e9:.1f} GB)"


def _packages() -> Iterator[Check]:
    for name in _NEEDED:
        try:
            yield Check(name, "ok", version(name))
        except PackageNotFoundError:
            yield Check(name, "fail", "not installed", f"pip install {name}")
    try:
        yield Check("bitsandbytes", "ok", version("bitsandbytes"))
    except PackageNotFoundError:
        yield Check("bitsandbytes", "warn", "not installed", "only qlora needs it: pip install bitsandbytes")


def _existing(path: Path) -> Path:
    """The path itself, or the nearest folder above it that exists."""
    return next((folder for folder in (path, *path.parents) if folder.is_dir()), Path("/"))


def _home(home: Home) -> Check:
    if home.root.exists() and not home.root.is_dir():
        return Check("home", "fail", f"{home.root} is not a folder", "use another --home or FINETUI_HOME")
    folder = _existing(home.root)
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as problem:
        return Check("home", "fail", f"{home.root} cannot be written: {problem.strerror}", "use another --home or FINETUI_HOME")
    return Check("home", "ok", f"{home.root}" + ("" if folder == home.root else " (made at the first use)"))


def _disk(home: Home) -> Check:
    usage = shutil.disk_usage(_existing(home.root))
    detail = f"{usage.free / 1e9:.1f} of {usage.total / 1e9:.1f} GB free in {home.root}"
    if usage.free < _NO_DISK:
        return Check("disk", "fail", detail, "free some space, or use another --home")
    if usage.free < _LOW_DISK:
        return Check("disk", "warn", detail, "enough for adapters; a merged or fully tuned model may not fit")
    return Check("disk", "ok", detail)


def _hub() -> Iterator[Check]:
    offline = os.environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "TRUE", "YES", "ON"}
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    hint = "unset HF_HUB_OFFLINE to push and pull" if offline else ""
    yield Check("hub", "warn" if offline else "ok", endpoint + (" (HF_HUB_OFFLINE is set)" if offline else ""), hint)
    source = _token_source()
    if source:
        yield Check("hub login", "ok", f"a token is in {source}")
    else:
        yield Check("hub login", "warn", "no token", "needed to push and for private models: `hf auth login`, or set HF_TOKEN")


def _token_source() -> str:
    """Where the Hub's client would find a token; never the token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        if os.environ.get(name, "").strip():
            return name
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    home = Path(os.environ.get("HF_HOME") or cache / "huggingface")
    file = Path(os.environ.get("HF_TOKEN_PATH") or home / "token").expanduser()
    try:
        return str(file) if file.stat().st_size else ""
    except OSError:
        return ""


def _plugins() -> Iterator[Check]:
    rows = registry.describe_all()
    broken = [row for row in rows if row.error]
    yield Check("plugins", "ok", f"{len(rows) - len(broken)} work")
    for row in broken:
        yield Check(f"plugin {row.name}", "warn", f"{row.package}: {row.error}", "update or uninstall the package")


def _terminal() -> Check:
    name, colours = os.environ.get("TERM", ""), os.environ.get("COLORTERM", "")
    if name in ("", "dumb"):
        return Check("terminal", "warn", f"TERM={name or '(unset)'}", "the screen needs a real terminal; every command works without")
    if "NO_COLOR" in os.environ:
        return Check("terminal", "ok", f"TERM={name}, NO_COLOR is set: no colours")
    if colours in ("truecolor", "24bit"):
        return Check("terminal", "ok", f"TERM={name}, 16 million colours")
    count = "256" if "256" in name else "16"
    return Check("terminal", "ok", f"TERM={name}, {count} colours", "export COLORTERM=truecolor if the terminal has them (ssh drops it)")


def _notify() -> Check:
    """Whether somebody is told when a run ends with everything closed."""
    try:
        settings = load_settings().notify
    except UsageError as malformed:
        return Check("notify", "fail", malformed.message, malformed.hint)
    hint = f"the table [notify] of {config_file()}: command or webhook"
    if settings.command and not shutil.which(settings.command[0]):
        return Check("notify", "warn", f"the program {settings.command[0]} is not found", hint)
    told = [f"the command {Path(settings.command[0]).name}"] if settings.command else []
    told += [f"the webhook at {webhook_host(settings.webhook)}"] if settings.webhook else []
    when = "at every end of a run" if settings.on == "end" else "when a run fails"
    if not told:
        return Check("notify", "ok", "only terminals that follow a run", hint)
    return Check("notify", "ok", f"{when}: {' and '.join(told)}")


def _logind(roots: tuple[Path, ...] = (Path("/etc/systemd"), Path("/run/systemd"), Path("/usr/lib/systemd"))) -> Check:
    """Whether runs outlive the login session: systemd can be told to kill everything at logout."""
    if not _kills_user_processes(roots):
        return Check("logout", "ok", "runs go on after logging out")
    if (Path("/var/lib/systemd/linger") / os.environ.get("USER", "-")).exists():
        return Check("logout", "ok", "KillUserProcesses=yes, but lingering is on: runs go on after logging out")
    return Check("logout", "warn", "logind kills all processes at logout (KillUserProcesses=yes)", "loginctl enable-linger")


def _kills_user_processes(roots: tuple[Path, ...]) -> bool:
    """The setting in force: ``logind.conf`` of the first root that has one, then the fragments of all, by name."""
    main = [root / "logind.conf" for root in roots if (root / "logind.conf").is_file()][:1]
    fragments: dict[str, Path] = {}
    for root in reversed(roots):
        fragments.update({file.name: file for file in (root / "logind.conf.d").glob("*.conf")})
    value = "no"
    for file in [*main, *(fragments[name] for name in sorted(fragments))]:
        for line in _lines(file):
            key, _, setting = line.partition("=")
            if key.strip() == "KillUserProcesses":
                value = setting.strip().lower()
    return value in ("yes", "true", "on", "1")


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text(errors="replace").splitlines()
    except OSError:
        return []


def probe_torch(found: list[Device] | None = None) -> Check:
    """Ask torch itself, in a process of its own, whether it sees the GPUs and has bfloat16.

    Args:
        found: what `list_devices` gave; a GPU that NVML shows and torch does not is a failure.
    """
    try:
        done = subprocess.run([sys.executable, "-c", _PROBE], capture_output=True, text=True, timeout=_PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        return Check("torch probe", "fail", f"importing torch took longer than {_PROBE_SECONDS} s", "is the disk very slow?")
    try:
        answer = json.loads(done.stdout.strip().splitlines()[-1])
    except (IndexError, ValueError):
        reason = done.stderr.strip().splitlines() or ["torch does not start"]
        return Check("torch probe", "fail", reason[-1], "reinstall torch")
    bf16 = "bfloat16" if answer["bf16"] else "no bfloat16"
    if answer["cuda"]:
        return Check("torch probe", "ok", f"{answer['built']}, {answer['devices']} devices, {bf16}")
    if any(device.kind == "cuda" and device.usable for device in found or ()):
        why = "this torch is built without CUDA" if not answer["built"] else f"{answer['built']} does not start with this driver"
        return Check("torch probe", "fail", f"the GPU is there, but {why}", "install the torch build for this driver: https://pytorch.org")
    return Check("torch probe", "ok", f"CPU, {bf16}")
