"""Home: what to do when empty, what runs, what has ended and why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from finetui.core import fsio
from finetui.core.devices import Device, DeviceProcess
from finetui.core.paths import Home
from finetui.core.runs.follow import Update
from finetui.core.runs.spec import Event, MetricLine, RunState
from finetui.tui.app import FineTuiApp
from finetui.tui.feed import RunFacts
from finetui.tui.screens.new_run import NewRunScreen
from finetui.tui.watching import DevicesChanged, RunRow, RunsChanged, RunWatcher, Tracker
from finetui.tui.widgets.lists import Lines
from support.runs import toys_in
from support.runs import until as wait_until
from support.snapshots import running
from support.tui import SIZES, make_run, metric_line, opened, painted, type_text, until, until_painted
from textual.geometry import Region
from textual.widget import Widget


@pytest.mark.parametrize("size", SIZES)
async def test_empty_home_leads_to_a_first_run_by_enter(tmp_path: Path, size: tuple[int, int]) -> None:
    async with opened(tmp_path / "home", size) as pilot:
        text = await until_painted(pilot, "Nothing has run yet", "Fine-tune the built-in model")
        assert "1 Home" in text and "? Help" in text
        await pilot.press("enter")
        text = await until_painted(pilot, "New run", "finetui-mini", "pirate (built in)", "Start")
        screen = pilot.app.screen
        assert isinstance(screen, NewRunScreen)
        assert screen.form.current is not None and screen.form.current.key == "start"
        await until(pilot, lambda: screen.plan is not None, what="the price")
        assert screen.why_not("start") == ""


@pytest.mark.parametrize("size", SIZES)
async def test_lists_runs_by_word_and_glyph(tmp_path: Path, size: tuple[int, int]) -> None:
    make_run(tmp_path / "home", "good")
    make_run(tmp_path / "home", "bad", "failed", error={"kind": "data", "message": "data.jsonl:7: no answer", "hint": "add one"})
    async with opened(tmp_path / "home", size) as pilot:
        text = await until_painted(pilot, "Finished", "good", "bad")
        assert "✔" in text and "succeeded" in text and "✖" in text and "failed" in text
        assert "data.jsonl" in text


async def test_details_of_the_selected_run(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home") as pilot:
        text = await until_painted(pilot, "Selected", run.id)
        assert "finetui-mini" in text and "100 of 100" in text and "1.500" in text


async def test_a_running_run_moves_and_ends_while_watched(tmp_path: Path) -> None:
    with toys_in(tmp_path / "home") as toys:
        run = toys.start("toy", steps=60, pause=0.05)
        async with opened(tmp_path / "home") as pilot:
            await until_painted(pilot, "Running", "▶ toy", "loss", "/60")
            await until_painted(pilot, "Finished", "✔ toy", "succeeded", seconds=30)
        assert run.state().state == "succeeded"


async def test_stop_from_the_list(tmp_path: Path) -> None:
    with toys_in(tmp_path / "home") as toys:
        run = toys.start("toy", steps=5000, pause=0.02)
        async with opened(tmp_path / "home") as pilot:
            await until_painted(pilot, "▶ toy")
            await pilot.press("s")
            await until_painted(pilot, "■ toy", "stopped", seconds=30)
            await pilot.press("s")
            await until_painted(pilot, "toy has ended (stopped)")
        assert run.state().state == "stopped"


async def test_leaving_leaves_the_run_alone(tmp_path: Path) -> None:
    with toys_in(tmp_path / "home") as toys:
        run = toys.start("toy", steps=5000, pause=0.02)
        async with opened(tmp_path / "home") as pilot:
            await until_painted(pilot, "▶ toy")
            await pilot.press("q")
        assert run.state().state == "running"
        async with opened(tmp_path / "home") as pilot:
            await until_painted(pilot, "▶ toy")
            await pilot.press("enter")
            await until_painted(pilot, "toy", "running", "train loss")
            await pilot.press("s")
            await until_painted(pilot, "stopped", seconds=30)


async def test_filter_narrows_and_escape_clears(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "alpha")
    make_run(tmp_path / "home", "beta")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "alpha", "beta")
        await pilot.press("slash")
        await type_text(pilot, "alp")
        await until(pilot, lambda: "beta" not in painted(pilot.app))
        assert "alpha" in painted(pilot.app)
        await pilot.press("escape")
        await until_painted(pilot, "beta")
        await pilot.press("slash")
        await type_text(pilot, "nothing like that")
        await pilot.press("enter")
        await until_painted(pilot, "no run matches the filter; esc clears it")
        await pilot.press("escape")
        await until_painted(pilot, "alpha", "beta")


async def test_delete_asks_first(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "gone")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "gone")
        await pilot.press("d")
        await until_painted(pilot, "Delete run gone?", "Leave it as it is")
        await pilot.press("enter")
        assert run.dir.exists()
        await pilot.press("d")
        await until_painted(pilot, "Delete run gone?")
        await pilot.press("j", "enter")
        await until_painted(pilot, "Nothing has run yet")
        assert not run.dir.exists()
        assert (tmp_path / "home" / "adapters" / "gone").exists()


async def test_a_lost_run_is_told_on_start(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "orphan", "running", steps=5)
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "? orphan", "lost")


async def test_without_colour_nothing_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "✔ good", "succeeded")
        for strip in pilot.app.screen._compositor.render_strips():
            for segment in strip:
                colour = segment.style.color if segment.style else None
                if colour is not None and colour.triplet is not None:
                    assert max(colour.triplet) - min(colour.triplet) <= 2


async def test_ascii(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home", ascii=True) as pilot:
        await until_painted(pilot, "+ good", "succeeded")
        assert painted(pilot.app).isascii()
        await pilot.press("enter")
        await until_painted(pilot, "train loss", "good")
        await pilot.pause(0.3)
        assert painted(pilot.app).isascii()


async def test_a_damaged_run_does_not_end_the_watching(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "broken")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "broken")
        good = (run.dir / "state.json").read_bytes()
        (run.dir / "state.json").unlink()
        (run.dir / "state.json").mkdir()
        make_run(tmp_path / "home", "another")
        await until(pilot, lambda: "another" in painted(pilot.app) and "broken" not in painted(pilot.app), what="the run being left out")
        (run.dir / "state.json").rmdir()
        (run.dir / "state.json").write_bytes(good)
        await until_painted(pilot, "another", "broken")


def test_runs_that_cannot_be_read_are_told_and_looked_at_again(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    problems: list[str] = []
    home.runs.rmdir()
    home.runs.write_text("no folder")
    watcher = RunWatcher(home, lambda rows: None, None, problems.append)
    watcher.start()
    try:
        wait_until(lambda: problems, 10, "the problem")
        assert "runs" in problems[0]
        home.runs.unlink()
        watcher.wake()
        wait_until(lambda: problems[-1] == "", 10, "the end of the problem")
    finally:
        watcher.stop()


def test_the_time_left_after_a_resume_leaves_out_the_pause() -> None:
    tracker, facts = Tracker(RunRow(id="r", kind="train", name="r", total_steps=100)), RunFacts()
    facts.total_steps = 100
    running = RunState(state="running")
    lines = [metric_line(1), metric_line(2), metric_line(3, attempt=2, time=1.8e9), metric_line(4, attempt=2, time=1.8e9 + 1)]
    update = Update(running, metrics=msgspec.convert(lines, list[MetricLine]))
    facts.take(update)
    assert tracker.take(update).seconds_left == facts.seconds_left == 96


async def test_without_colour_the_terminals_own_colours_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "linux")
    monkeypatch.delenv("COLORTERM")
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("T", "T", "T")
        assert not pilot.app.current_theme.ansi


async def test_a_number_key_closes_what_is_open_over_its_view(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "good")
        await pilot.press("enter")
        await until_painted(pilot, "train loss")
        await pilot.press("5")
        await pilot.press("1")
        await until_painted(pilot, "Finished", "Selected")


def _gpu(index: int, **changes: Any) -> Device:
    facts: dict[str, Any] = {"utilisation": 40.0, "temperature": 61.0, "power": 210.0, **changes}
    return Device(
        kind="cuda", vendor="nvidia", id=str(index), uuid=f"GPU-{index}", name="Big GPU",
        memory_total=80 * 10**9, memory_free=20 * 10**9, **facts,
    )  # fmt: skip


async def test_devices_tell_what_is_wrong_and_who_else_is_there(tmp_path: Path) -> None:
    theirs = DeviceProcess(7, 12 * 10**9, "python", "alice")
    ours = DeviceProcess(8, 10**9, "python", "me", "01RUN")
    lost = _gpu(1, problem="the GPU has fallen off the bus")
    async with opened(tmp_path / "home") as pilot:
        app: FineTuiApp = pilot.app  # type: ignore[assignment]
        await until(pilot, lambda: app.devices, what="the first reading")
        app.post_message(DevicesChanged((_gpu(0, processes=(theirs, ours)), lost)))
        text = await until_painted(pilot, "40 % busy   61 °C   210 W", "✖ the GPU has fallen off the bus")
        assert "12.0 GB held by python of alice" in text
        app.post_message(DevicesChanged(tuple(_gpu(index) for index in range(7)) + (_gpu(7, processes=(theirs,)), _gpu(8, problem="gone"))))
        text = await until_painted(pilot, "8     ✖ gone", "40 %  others")
        assert sum("61 °C" in line for line in text.splitlines()) == 7


async def test_a_transfer_is_told_in_bytes(tmp_path: Path) -> None:
    with running(tmp_path / "home", "push-tone", steps=0) as run:
        with fsio.JsonlWriter(run.dir / "events.jsonl") as events:
            data = {"done": 1_200_000, "total": 3_400_000, "unit": "bytes"}
            events.append(Event(seq=2, time=1_700_000_001.0, kind="progress", message="1200000 of 3400000 bytes", data=data))
        async with opened(tmp_path / "home") as pilot:
            text = await until_painted(pilot, "1.2 MB/3.4 MB", "bytes    1.2 MB of 3.4 MB")
            assert "steps" not in text


async def test_what_is_known_already_is_not_drawn_again_and_news_of_one_run_only_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        make_run(tmp_path / "home", name)
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "first", "second")
        app, screen = pilot.app, pilot.app.screen
        app._watcher.stop()
        await pilot.pause()
        drawn: list[tuple[str, tuple[Region, ...], bool]] = []
        real = Widget.refresh

        def refresh(widget: Widget, *regions: Region, layout: bool = False, **named: Any) -> Widget:
            drawn.append((widget.id or "", regions, layout))
            return real(widget, *regions, layout=layout, **named)

        monkeypatch.setattr(Widget, "refresh", refresh)
        screen.runs_changed()
        screen.devices_changed()
        assert drawn == []
        selected, other = sorted(app.rows, key=lambda row: row.id != screen.selected_row.id)
        app.on_runs_changed(RunsChanged(tuple(replace(row, eval_loss=9.5) if row is other else row for row in app.rows)))
        assert [(name, [region.height for region in regions], layout) for name, regions, layout in drawn] == [("runs", [1], False)]
        await until_painted(pilot, "9.50")
        drawn.clear()
        app.on_runs_changed(RunsChanged(tuple(replace(row, eval_loss=8.5) if row.id == selected.id else row for row in app.rows)))
        assert [(name, layout) for name, _, layout in drawn] == [("runs", False), ("selected-lines", False)]
        drawn.clear()
        app.on_runs_changed(RunsChanged(tuple(replace(row, state="running") for row in app.rows)))
        assert ("runs", (), False) in drawn, "lines that are higher now move those below"
        assert len(screen.query_one("#runs", Lines).options) == 3
