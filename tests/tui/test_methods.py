"""The ranked list of methods: reasons, marks, and the comparison that marks lead to."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from finetui.core.compare.asking import compare_request
from finetui.core.config import Settings
from finetui.core.embedded import BASE_MODEL_NAME, base_model_dir
from finetui.core.paths import Home
from finetui.core.planner.ranking import rank_methods
from finetui.core.runs.control import stop
from finetui.core.runs.store import RunStore
from finetui.tui.answers import Answers
from finetui.tui.asking import MethodRow, method_rows
from finetui.tui.glyphs import ASCII, UNICODE
from finetui.tui.methodlines import HEAD, method_line
from finetui.tui.screens.compare import CompareScreen
from finetui.tui.screens.methods import MethodsScreen
from finetui.tui.screens.new_run import NewRunScreen
from support.tui import SIZES, opened, type_text, until, until_painted
from textual.pilot import Pilot


async def methods(pilot: Pilot[int]) -> tuple[NewRunScreen, MethodsScreen]:
    """The form with the built-in model and data, and the list over it."""
    form = NewRunScreen(model=BASE_MODEL_NAME, embedded_data="pirate", ready=True)
    pilot.app.push_screen(form)
    await until(pilot, lambda: form.plan is not None and form.rows, what="the price")
    form.form.show(form.form.fields, "method")
    await pilot.press("enter")
    await until_painted(pilot, f"Methods for {BASE_MODEL_NAME}")
    screen = pilot.app.screen
    assert isinstance(screen, MethodsScreen)
    return form, screen


@pytest.mark.parametrize("size", [*SIZES, (200, 60)])
async def test_the_planner_s_ranking_with_reasons(tmp_path: Path, size: tuple[int, int]) -> None:
    async with opened(tmp_path / "home", size) as pilot:
        _, screen = await methods(pilot)
        listed = [name for name in screen.rows if ":" not in name]
        assert listed == [row.method for row in rank_methods(base_model_dir(), {})], "the order is the planner's"
        assert screen.lines.chosen == "lora"
        text = await until_painted(pilot, "When nothing speaks against it", "the speed of full", "Trains 7.01%")
        line = next(line for line in text.splitlines() if line.split()[:1] == ["lora"])
        assert "fits" in line and "MB" in line and "287k" in line and "1.3x" in line, "one line a method, at every size"


def test_without_a_model_methods_are_listed_all_the_same(tmp_path: Path) -> None:
    rows = method_rows(Home(tmp_path), Answers())
    assert "lora" in [row.name for row in rows] and not any(row.ranked or row.refusal for row in rows)


def test_the_head_stands_over_the_columns() -> None:
    ranked = rank_methods(base_model_dir(), {})[0]
    for glyphs in (UNICODE, ASCII):
        line = method_line(MethodRow("full", "Full", "good", ranked), False, glyphs, 0).plain
        for word, end in (("memory", "B"), ("trains", "M"), ("speed", "x")):
            column = HEAD.index(word) + len(word) - 1  # the list's lines begin a cell further right
            assert line[column - 1] == end, (line, HEAD)


async def test_marked_methods_are_compared(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (80, 24)) as pilot:
        form, screen = await methods(pilot)
        await pilot.press("v")
        await until_painted(pilot, "mark two or more methods with space")
        await pilot.press("space")
        await pilot.press("slash")
        await type_text(pilot, "ia3")
        await pilot.press("enter", "space", "v")
        await until_painted(pilot, "New comparison", "lora, ia3", "2 compared", "Compare")
        assert form.answers.methods == ["lora", "ia3"]
        await until(pilot, lambda: form.priced is not None and len(form.priced.prices) == 2, what="both prices")
        await until_painted(pilot, "lora ", "ia3 ", "MB")
        form.form.set("lora:.r", 4)
        form.form.set("seeds", 2)
        await until(pilot, lambda: form.answers.settings.get("lora:r") == 4 and form.answers.seeds == 2, what="the settings")
        assert "--seeds 2" in form.answers.command(Settings()) and "--set lora:r=4" in form.answers.command(Settings())
        assert "wait for their devices" in form.why_not("queue")
        form.form.show(form.form.fields, "method")
        await pilot.press("enter")
        await until_painted(pilot, "2 marked")
        assert isinstance(pilot.app.screen, MethodsScreen) and pilot.app.screen.marked == ["lora", "ia3"]


async def test_a_refused_method_says_why_and_is_not_marked(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (80, 24)) as pilot:
        _, screen = await methods(pilot)
        screen.rows["ia3"] = MethodRow("ia3", "IA3", "seldom", refusal="it has no keys")
        screen.show_filtered()
        screen.lines.choose("ia3")
        await pilot.press("space")
        await until_painted(pilot, "cannot be compared here")
        assert not screen.marked
        await pilot.press("enter")
        await until_painted(pilot, "cannot be chosen")
        assert pilot.app.screen is screen


async def test_a_comparison_is_started_as_the_command_would(tmp_path: Path) -> None:
    home = tmp_path / "home"
    async with opened(home, (120, 40)) as pilot:
        form, _ = await methods(pilot)
        await pilot.press("escape")
        form.answers.choose(["lora", "bitfit"])
        form.answers.settings["max_steps"] = 2
        form.chose()
        wanted = compare_request(Home(home), form.answers.question())
        await pilot.press("ctrl+s")
        await until(pilot, lambda: isinstance(pilot.app.screen, CompareScreen), seconds=60, what="the comparison")
        (run,) = RunStore(Home(home)).list("compare")
        stop(run, now=True)
        assert (run.spec.name, run.spec.request) == (wanted[0], msgspec.to_builtins(wanted[1]))
        await until_painted(pilot, "lora", "bitfit")
        await until(pilot, lambda: run.state().state in ("stopped", "succeeded", "failed"), seconds=90, what="the end")
