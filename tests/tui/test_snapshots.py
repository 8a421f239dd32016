"""The screens as they look, at every size: see `support.snapshots` for how the pictures are made and written anew."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from finetui.core.errors import DiskError
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
