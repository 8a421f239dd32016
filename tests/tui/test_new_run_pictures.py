"""The form of a new run, the ranked methods and the data as they look at every size: see `support.snapshots`."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from finetui.core import registry
from finetui.core.embedded import BASE_MODEL_NAME
from finetui.core.runs import placing, planning
from finetui.tui.screens.new_run import NewRunScreen
from support.rows import write_rows
from support.snapshots import DEVICES, Stage
from support.tui import SIZES, opened, until, until_painted
from textual.pilot import Pilot

Size = tuple[int, int]
ROWS = [
    {"instruction": "Name a colour.", "input": "", "output": "Arr! Blue be a colour, matey!"},
    {"instruction": "一年有几个月？", "input": "", "output": "哈！一年有十二个月，伙计！"},
]


@pytest.fixture(autouse=True)
def one_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stage's GPU, and no methods that depend on the installed PEFT."""
    gpus = [DEVICES[0]]
    for place in (planning, placing):
        monkeypatch.setattr(place, "select", lambda _: gpus)
    monkeypatch.setattr(placing, "sample", lambda: gpus)
    monkeypatch.setattr(registry, "members", lambda _: [])


async def form_on(pilot: Pilot[int], file: Path) -> NewRunScreen:
    """The form with the built-in model and a file; everything is known."""
    screen = NewRunScreen(model=BASE_MODEL_NAME)
    screen.answers.data = [str(file)]
    pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.shelf is not None and screen.plan is not None and screen.rows, what="the rows")
    await until_painted(pilot, "causal-lm: Qwen2", "fits")
    return screen


@pytest.mark.parametrize("size", SIZES)
async def test_form_and_methods(stage: Stage, size: Size) -> None:
    async with opened(stage.home, size) as pilot:
        screen = await form_on(pilot, write_rows(stage.root / "rows.jsonl", ROWS))
        screen.form.set("training.max_steps", 120)
        screen.form.show(screen.form.fields, "data")
        screen._follow()
        await until_painted(pilot, "2 rows", "«", "GPU 0")
        await stage.compare(pilot, "new-run")
        screen.form.show(screen.form.fields, "method")
        await pilot.press("enter")
        await until_painted(pilot, "Methods for")
        await pilot.press("space", "j", "space")
        await until_painted(pilot, "2 marked")
        await stage.compare(pilot, "methods")
        await pilot.press("v")
        await until(pilot, lambda: screen.priced is not None and len(screen.priced.prices) == 2, what="both prices")
        await until_painted(pilot, "2 compared")
        await stage.compare(pilot, "new-comparison")


@pytest.mark.parametrize("size", SIZES)
async def test_does_not_fit(stage: Stage, size: Size, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(stage.home, size) as pilot:
        screen = await form_on(pilot, write_rows(stage.root / "rows.jsonl", ROWS * 3000))
        small = msgspec.structs.replace(DEVICES[0], memory_total=2_000_000_000, memory_free=2_000_000_000)
        monkeypatch.setattr(planning, "select", lambda _: [small])
        screen.form.set("training.per_device_train_batch_size", 4000)
        await until(pilot, lambda: screen.plan is not None and not screen.plan.fits, what="the price")
        await until_painted(pilot, "makes it fit")
        await stage.compare(pilot, "new-run-too-large")


@pytest.mark.parametrize("size", SIZES)
async def test_data(stage: Stage, size: Size) -> None:
    file = write_rows(stage.root / "rows.jsonl", ROWS)
    async with opened(stage.home, size) as pilot:
        await form_on(pilot, file)
        await pilot.press("v")
        await until_painted(pilot, "Row 1 of 2", seconds=90)
        await stage.compare(pilot, "data-row")
        await pilot.press("right", "t")
        await until_painted(pilot, "Row 2 of 2")
        await stage.compare(pilot, "data-tokens")
        file.write_text(file.read_text() + '{"instruction": 7}\n')
        await pilot.press("r")
        await until_painted(pilot, "rows.jsonl:3")
        await stage.compare(pilot, "data-problems")
