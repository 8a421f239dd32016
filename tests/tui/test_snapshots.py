"""The screens as they look, at every size: see `support.snapshots` for how the pictures are made and written anew."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from finetui.core.doctor import Check
from finetui.core.errors import DiskError
from finetui.core.paths import config_file
from support.snapshots import Stage, running
from support.tui import SIZES, make_run, opened, until_painted

Size = tuple[int, int]


def fill(stage: Stage) -> ExitStack:
    """Runs in several states, one of them with a Chinese name; one runs until the stack is closed."""
    make_run(stage.home, "support-lora")
    make_run(stage.home, "客服-回复-模型")
    out_of_memory = {"kind": "memory", "message": "out of memory at step 3: planned 139 GB of 141", "hint": "use a smaller batch"}
    make_run(stage.home, "sql-full", "failed", steps=3, error=out_of_memory)
    stack = ExitStack()
    stack.enter_context(running(stage.home, "falcon-json"))
    return stack


@pytest.mark.parametrize("size", SIZES)
async def test_home_empty(stage: Stage, size: Size) -> None:
    async with opened(stage.home, size) as pilot:
        await until_painted(pilot, "Nothing has run yet")
        await stage.compare(pilot, "home-empty")


@pytest.mark.parametrize("size", SIZES)
async def test_home_full(stage: Stage, size: Size) -> None:
    with fill(stage):
        async with opened(stage.home, size) as pilot:
            await until_painted(pilot, "falcon-json", "sql-full")
            await stage.compare(pilot, "home-full")


@pytest.mark.parametrize("size", SIZES)
async def test_help(stage: Stage, size: Size) -> None:
    async with opened(stage.home, size) as pilot:
        await pilot.press("question_mark")
        await until_painted(pilot, "Keys")
        await stage.compare(pilot, "help")


@pytest.mark.parametrize("size", SIZES)
async def test_error(stage: Stage, size: Size) -> None:
    async with opened(stage.home, size) as pilot:
        pilot.app.show_error(DiskError(f"{stage.home}/runs: No space left on device", "free some space, or use another --home"))  # type: ignore[attr-defined]
        await until_painted(pilot, "No space left")
        await stage.compare(pilot, "error")


CHECKS = [
    Check("python", "ok", "3.11.4 at /usr/bin/python3"),
    Check("gpu 0", "ok", "NVIDIA H200, 101.8 of 150.0 GB free, 61 °C, held by python of 李雷 (48.2 GB)"),
    Check("gpu 1", "fail", "GPU is lost: reset or reboot the node", "`nvidia-smi` and `dmesg` tell more; a restart may help"),
    Check("hub login", "warn", "no token", "needed to push and for private models: `hf auth login`, or set HF_TOKEN"),
    Check("plugins", "ok", "31 work"),
]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("found", [[], CHECKS], ids=["empty", "full"])
async def test_doctor(stage: Stage, size: Size, found: list[Check], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetui.tui.backend.examine", lambda _: found)
    async with opened(stage.home, size) as pilot:
        await pilot.press("5")
        await until_painted(pilot, "broken" if found else "Doctor")
        await stage.compare(pilot, "doctor-full" if found else "doctor-empty")


@pytest.mark.parametrize("size", SIZES)
async def test_settings(stage: Stage, size: Size) -> None:
    config_file().write_text(
        'theme = "finetui-dark"\ngpus = "0,1"\n[notify]\nwebhook = "https://hooks.example.org/x"\n[keys]\n"home.stop" = "x"\n'
    )
    async with opened(stage.home, size) as pilot:
        await pilot.press("9")
        await until_painted(pilot, "Settings", "theme")
        await stage.compare(pilot, "settings")


LOG = """2026-03-14 09:12:00 INFO    the screen is open: 80 x 24, TERM=screen, finetui-dark
2026-03-14 09:12:41 WARNING disk: /data/runs: No space left on device
a line of a worker
2026-03-14 09:20:07 ERROR   the screen met an unexpected error
Traceback (most recent call last):
  File "tui/screens/home.py", line 7, in do_copy
RuntimeError: 出错了
"""


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("text", ["", LOG], ids=["empty", "full"])
async def test_log(stage: Stage, size: Size, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetui.tui.app.open_log", lambda *_: None)  # what this app would log has the time in it
    stage.home.mkdir()
    (stage.home / "finetui.log").write_text(text)
    async with opened(stage.home, size) as pilot:
        await pilot.press("8")
        await until_painted(pilot, "出错了" if text else "nothing has been logged yet")
        await stage.compare(pilot, "log-full" if text else "log-empty")


@pytest.mark.parametrize("size", [*SIZES, (200, 60)])
async def test_run(stage: Stage, size: Size) -> None:
    for name in ("support-lora", "客服-回复-模型"):
        make_run(stage.home, name)
    async with opened(stage.home, size) as pilot:
        await until_painted(pilot, "support-lora")
        await pilot.press("j", "enter")
        await until_painted(pilot, "Training loss", "succeeded", "prepared")
        await stage.compare(pilot, "run")
        await pilot.press("o", "enter", "ctrl+s")
        await until_painted(pilot, "Training loss  a", "客服")
        await pilot.press("home", "right")
        await until_painted(pilot, "  b ")
        await stage.compare(pilot, "run-overlaid")


@pytest.mark.parametrize("size", [*SIZES, (200, 60)])
async def test_compare(stage: Stage, size: Size) -> None:
    for name in ("support-lora", "客服-回复-模型"):
        make_run(stage.home, name)
    async with opened(stage.home, size) as pilot:
        await pilot.press("4")
        await until_painted(pilot, "Nothing to compare yet")
        await stage.compare(pilot, "compare-empty")
        await pilot.press("a", "enter", "down", "enter", "ctrl+s")
        await until_painted(pilot, "2 runs", "Training loss  a")
        await stage.compare(pilot, "compare")
