"""The data of a new run: problems with file and line, rows as training sees them, loss told without colour."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.core.api import Example, Turn
from finetui.core.embedded import BASE_MODEL_NAME, dataset
from finetui.tui.answers import Answers
from finetui.tui.glyphs import ASCII, UNICODE
from finetui.tui.rowlines import LEARNED, learns_from, printable, row_text, row_tokens
from finetui.tui.screens.new_run import NewRunScreen
from finetui.tui.screens.preview import PreviewScreen
from support.cli import ok
from support.rows import write_rows
from support.snapshots import Stage
from support.tui import SIZES, opened, painted, until, until_painted
from textual.pilot import Pilot

ROW: dict[str, Any] = {
    "text": "ask: a\nB\n",
    "tokens": ["ask", ": a\n", "B", "\n"], "input_ids": [5, 6, 7, 8], "labels": [-100, -100, 7, 8], "truncated": False,
}  # fmt: skip


def test_what_carries_loss_is_told_by_signs_and_by_style() -> None:
    text = row_text(ROW, UNICODE)
    assert text.plain == "ask: a\n«B↵»\n"
    assert row_text(ROW, ASCII).plain == "ask: a\n<<B\\n>>\n"
    assert [text.plain[span.start : span.end] for span in text.spans if span.style == LEARNED] == ["B↵"]
    lines = row_tokens(ROW, UNICODE).plain.splitlines()
    assert ["loss" in line for line in lines] == [False, False, True, True]
    assert lines[1].split() == ["1", "6", "':", "a\\n'"]


def test_a_class_stands_below_its_text() -> None:
    row = {**ROW, "labels": ROW["input_ids"], "label": "good"}
    assert row_text(row, UNICODE).plain == "ask: a\nB\n\n→ «good»"


def test_data_cannot_command_the_terminal() -> None:
    assert printable("a\x1b[2Jb\x07\n\x9b") == "a␛[2Jb␇\n\ufffd"
    assert printable("海盗 ♥") == "海盗 ♥"


@pytest.mark.parametrize(("loss_on", "learned"), [("assistant", ["«b»", "«d»"]), ("last", ["«d»"]), ("all", ["«a»", "«b»", "«c»", "«d»"])])
def test_the_first_row_in_a_line(loss_on: str, learned: list[str]) -> None:
    turns = tuple(Turn(role, text) for role, text in zip(("user", "assistant") * 2, "abcd", strict=True))
    text = learns_from(Example(turns=turns), loss_on, UNICODE, 200)
    assert [text.plain[span.start : span.end] for span in text.spans if span.style == LEARNED] == learned


async def preview(pilot: Pilot[int], answers: Answers) -> PreviewScreen:
    """The screen on these answers."""
    screen = PreviewScreen(answers)
    pilot.app.push_screen(screen)
    await until(pilot, lambda: screen.seen is not None, what="the check of the data")
    return screen


@pytest.mark.parametrize("size", [*SIZES, (200, 60)])
async def test_rows_as_data_preview_shows_them(tmp_path: Path, size: tuple[int, int]) -> None:
    shown = ok("data", "preview", dataset("pirate"), "--model", BASE_MODEL_NAME, "-n", 2, FINETUI_HOME=str(tmp_path / "home"))
    async with opened(tmp_path / "home", size) as pilot:
        form = NewRunScreen(model=BASE_MODEL_NAME, embedded_data="pirate", ready=True)
        pilot.app.push_screen(form)
        await until_painted(pilot, "320 rows")
        await pilot.press("v")
        await until_painted(pilot, "Row 1", "carry loss", "«Arr!", "<|im_start|>user", seconds=90)
        screen = pilot.app.screen
        assert isinstance(screen, PreviewScreen) and screen.rows is not None
        assert screen.rows.known[:2] == shown
        await pilot.press("t")
        await until_painted(pilot, "'<|im_start|>'")
        await pilot.press(*"j" * 8)
        await until_painted(pilot, "● loss", "'Arr'")
        await pilot.press("right")
        await until_painted(pilot, "Row 2")
        await pilot.press("left", "left")
        await until_painted(pilot, "this is the first row")
        session = screen.rows._session
        assert session is not None and session.alive
        await pilot.press("escape")
        await until(pilot, lambda: not session.alive, what="the worker's end")
        assert pilot.app.screen is form


async def test_pages_to_the_end_of_the_data(tmp_path: Path) -> None:
    rows = [{"prompt": f"question {number}", "response": "海盗"} for number in range(25)]
    file = write_rows(tmp_path / "rows.json", rows)
    async with opened(tmp_path / "home", (80, 24), ascii=True) as pilot:
        screen = await preview(pilot, Answers(model=BASE_MODEL_NAME, data=[str(file)]))
        await until_painted(pilot, "Row 1", "<<", seconds=90)
        assert "«" not in painted(pilot.app)
        for number in range(2, 26):
            await pilot.press("right_square_bracket")
            await until_painted(pilot, f"Row {number}", f"question {number - 1}")
            await until(
                pilot, lambda number=number: screen.rows and len(screen.rows.known) > number or screen.rows.complete, what="more rows"
            )  # type: ignore[union-attr]
        await until_painted(pilot, "Row 25 of 25")
        await pilot.press("right")
        await until_painted(pilot, "this is the last row")


async def test_problems_are_named_with_file_and_line_and_read_again(stage: Stage) -> None:
    file = stage.root / "bad.jsonl"  # a short path: a long one would be wrapped
    file.write_text('{"prompt": "a", "response": "b"}\n{"prompt": 7}\n' * 30)
    async with opened(stage.home, (80, 24)) as pilot:
        screen = await preview(pilot, Answers(model=BASE_MODEL_NAME, data=[str(file)]))
        await until_painted(pilot, "30 problems", "30 good rows", "bad.jsonl:2", "mend it")
        assert screen.rows is None, "no worker is started for data that cannot be trained on"
        await pilot.press(*"j" * 12)
        await until(pilot, lambda: "30 problems" not in painted(pilot.app), what="scrolling")
        file.write_text(json.dumps({"prompt": "a", "response": "b"}) + "\n")
        await pilot.press("r")
        await until_painted(pilot, "1 row, ", "Row 1 of 1", seconds=90)


async def test_without_a_model_it_says_what_is_missing(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (60, 20)) as pilot:
        await preview(pilot, Answers(data=[str(dataset("pirate"))]))
        await until_painted(pilot, "320 rows", "choose a model")
        await pilot.press("t")
        await until_painted(pilot, "no row is shown yet")
