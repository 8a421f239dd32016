"""The log screen: what was logged, followed while it grows, searched; crash reports with the rest."""

from __future__ import annotations

import logging
from pathlib import Path

from finetui.core.applog import Entry, log, open_log, read_log
from finetui.core.paths import Home
from support.tui import opened, painted, type_text, until, until_painted


async def test_follows_searches_and_filters_by_level(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (100, 30)) as pilot:
        await pilot.press("8")
        await until_painted(pilot, "Log", "the screen is open", "following")
        log.warning("the disk is nearly full")
        log.info("a line that comes later: 训练完成")
        await until_painted(pilot, "nearly full", "训练完成")
        await pilot.press("w")
        text = await until_painted(pilot, "1 entry, warnings and errors", "nearly full")
        assert "训练完成" not in text
        await pilot.press("w", "w", "slash")
        await type_text(pilot, "comes 训练")
        await pilot.press("enter")
        text = await until_painted(pilot, "训练完成")
        assert "nearly full" not in text
        await pilot.press("y")
        assert pilot.app.clipboard.endswith("训练完成")
        await pilot.press("escape")
        await until_painted(pilot, "nearly full")


async def test_stays_where_one_reads_until_told_to_follow(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (80, 24)) as pilot:
        for number in range(60):
            log.info("line %d.", number)
        await pilot.press("8")
        await until_painted(pilot, "line 59.", "following")
        await pilot.press("k", "ctrl+u")
        await until_painted(pilot, "standing still")
        await until(pilot, lambda: "line 59." not in painted(pilot.app), what="the page before")  # type: ignore[arg-type]
        log.info("line 60.")
        await pilot.pause(1.5)
        assert "line 60." not in painted(pilot.app)  # type: ignore[arg-type]
        await pilot.press("f")
        await until_painted(pilot, "line 60.", "following")


def test_tracebacks_belong_to_their_entry_and_workers_lines_stand_alone(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    open_log(home, "warning")
    log.info("left out")
    log.warning("kept")
    try:
        raise RuntimeError("出错了")
    except RuntimeError as problem:
        log.error("caught", exc_info=problem)
    entries = read_log(home)
    assert [entry.level for entry in entries] == ["warning", "error"]
    assert "RuntimeError: 出错了" in entries[1].text and "Traceback" in entries[1].text


def test_a_long_log_makes_room_and_only_its_end_is_read(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    home.log.write_text("2026-03-14 09:12:00 INFO    old\n" * 150_000)
    assert len(read_log(home, 1000)) == 1000 // 32
    open_log(home)
    log.info("new")
    assert [entry.text[-3:] for entry in read_log(home)] == ["new"]
    assert home.log.with_name("finetui.log.1").stat().st_size > 4_000_000


def test_a_disk_that_cannot_be_written_loses_lines_and_nothing_else(tmp_path: Path) -> None:
    open_log(Home(tmp_path / "gone"))
    log.error("lost")
    assert read_log(Home(tmp_path / "gone")) == []
    assert not logging.getLogger("finetui").propagate


def test_what_stands_before_the_first_head_is_told_as_it_is(tmp_path: Path) -> None:
    home = Home(tmp_path).create()
    home.log.write_text("a worker said this\n2026-03-14 09:12:00 INFO    ours\n")
    assert read_log(home) == [Entry("info", "a worker said this"), Entry("info", "2026-03-14 09:12:00 INFO    ours")]
