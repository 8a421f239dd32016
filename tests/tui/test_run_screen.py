"""The dashboard: a run's files as curve and figures, live when lines are appended, and what can be done from there."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from finetui.core import fsio
from finetui.core.runs import records
from finetui.core.runs.spec import Event
from finetui.tui.feed import RunFacts, plain
from finetui.tui.screens.run import RunScreen
from finetui.tui.widgets.loglines import LogLines
from finetui.tui.widgets.plot import Plot
from rich.cells import cell_len
from support.runs import toys_in
from support.tui import SIZES, loss_at, make_run, metric_line, opened, painted, type_text, until, until_painted


@pytest.mark.parametrize("size", SIZES)
async def test_shows_what_the_files_say(tmp_path: Path, size: tuple[int, int]) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home", size) as pilot:
        await until_painted(pilot, "good")
        await pilot.press("enter")
        text = await until_painted(pilot, "succeeded", "100 / 100", f"{loss_at(100):.3f}", "1.500")
        assert "○" in text and "┤" in text
        if size[0] >= 80:
            assert "c chats with the result: " in text and "320 examples" in text
            await pilot.press("left_square_bracket")
            text = await until_painted(pilot, "loading the base")
        assert any(0x2800 < ord(character) < 0x2900 for character in text)
        if size[0] >= 80:
            assert "700 MB" in text and "900 MB" in text
            assert "loading the base" in text and "progress 2" in text and "\x1b" not in text


async def test_appended_lines_appear(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "live", "running", steps=10, total=500)
    lock = fsio.FileLock(run.dir / "lock")
    assert lock.acquire()
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "live")
        await pilot.press("enter")
        await until_painted(pilot, "▶ running", "10 / 500")
        with fsio.JsonlWriter(run.dir / "metrics.jsonl") as metrics:
            for step in range(11, 31):
                metrics.append(metric_line(step, grad_norm=0.123))
        text = await until_painted(pilot, "30 / 500", "0.123", "ETA 4 min")
        assert f"{loss_at(30):.3f}" in text
        assert pilot.app.screen.query_one(Plot).picture.curves[0].series.xs.tolist() == list(range(1, 31))
        with fsio.JsonlWriter(run.dir / "metrics.jsonl") as metrics:
            metrics.append(metric_line(21, attempt=2))
        await until_painted(pilot, "21 / 500")
        assert pilot.app.screen.query_one(Plot).picture.curves[0].series.xs.tolist() == list(range(1, 22))
    lock.release()


async def test_failure_is_told_with_its_hint(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "bad", "failed", steps=3, error={"kind": "oom", "message": "out of memory at step 3", "hint": "try qlora"})
    for size in SIZES:
        async with opened(tmp_path / "home", size) as pilot:
            await until_painted(pilot, "bad")
            await pilot.press("enter")
            await until_painted(pilot, "✖ out of memory at step 3", "try qlora")


async def test_tabs_log_events_samples(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "good")
        await pilot.press("enter")
        await until_painted(pilot, "prepared", "320 examples")
        await pilot.press("right_square_bracket")
        await until_painted(pilot, "Hi?", "Arr!", "step 100")
        await pilot.press("left_square_bracket", "left_square_bracket")
        await until_painted(pilot, "loading the base")


async def test_stop_then_resume_a_real_run(tmp_path: Path) -> None:
    with toys_in(tmp_path / "home") as toys:
        run = toys.start("toy", steps=5000, pause=0.02)
        async with opened(tmp_path / "home") as pilot:
            await until_painted(pilot, "▶ toy")
            await pilot.press("enter")
            await until_painted(pilot, "▶ running")
            await pilot.press("R")
            await until_painted(pilot, "only a stopped, failed or lost run")
            await pilot.press("w")
            await until(pilot, lambda: any(event.kind == "checkpoint" for event in run.events()), what="the checkpoint")
            assert run.state().state == "running"
            await pilot.press("s")
            await until_painted(pilot, "■ stopped", seconds=30)
            step = run.last_metrics()["step"]
            await pilot.press("R")
            await until_painted(pilot, "▶ running", seconds=30)
            await until(pilot, lambda: run.last_metrics()["step"] > step + 5, what="steps after resuming")
            await pilot.press("K")
            await until_painted(pilot, "End toy now?")
            await pilot.press("j", "enter")
            await until(pilot, lambda: run.state().state != "running", seconds=30)


async def test_run_again_keeps_the_settings(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "good")
        await pilot.press("enter")
        await until_painted(pilot, "succeeded")
        await pilot.press("n")
        await until_painted(pilot, "● r", "was 16", "pirate (built in)")


async def test_a_run_that_is_not_there_is_an_error_dialog(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        await pilot.app.push_screen(RunScreen("01ABC"))
        await until_painted(pilot, "no run '01ABC'", "not found")
        await pilot.press("escape", "escape")
        await until_painted(pilot, "Nothing has run yet")


def test_log_lines_are_plain() -> None:
    assert plain("\x1b[1;31mred\x1b[0m \x1b]0;title\x07x\x08") == "red x"
    assert plain("10 %\r20 %\r") == "20 %"


def test_facts_know_nothing_at_first() -> None:
    facts = RunFacts()
    assert facts.step == 0 and facts.seconds_left is None and facts.best_evaluation is None


async def test_other_kinds_of_runs_show_progress(tmp_path: Path) -> None:
    from finetui.core.paths import Home
    from finetui.core.runs.spec import Event, MergeRequest
    from finetui.core.runs.store import RunStore

    request = MergeRequest(model="m", model_path="/m", base_model_name_or_path="m", adapter="/a", output="/out")
    run = RunStore(Home(tmp_path / "home").create()).create("merge", "merge-a", request)
    with fsio.JsonlWriter(run.dir / "events.jsonl") as events:
        events.append(Event(seq=1, time=1.7e9, kind="progress", message="3 of 4 tensors", data={"done": 3, "total": 4, "unit": "tensors"}))
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "merge-a", "queued")
        await pilot.press("enter")
        text = await until_painted(pilot, "merge-a", "75 %", "3 of 4 tensors", "/out")
        assert "waiting for the first step" not in text
        assert "only training can be repeated" not in painted(pilot.app)


async def test_a_run_whose_folder_goes_is_told_and_left(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "vanishes")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "vanishes")
        await pilot.press("enter")
        await until_painted(pilot, "train loss", "succeeded")
        shutil.rmtree(run.dir)
        await until_painted(pilot, "this run's folder is gone")
        await pilot.press("escape")
        await until_painted(pilot, "Nothing has run yet")


async def test_an_ended_run_shows_no_present_and_more_than_planned_is_marked(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "big")
    with fsio.JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        metrics.append(metric_line(100, peak_memory_bytes=950_000_000))
    for size in ((80, 24), (120, 40)):
        async with opened(tmp_path / "home", size) as pilot:
            await until_painted(pilot, "big")
            await pilot.press("enter")
            text = await until_painted(pilot, "950 MB", "! over", "900 MB")
            assert "ETA" not in text and "600 MB" not in text


@pytest.mark.parametrize("size", SIZES)
async def test_a_run_that_stands_still_or_explodes_says_so_in_words(tmp_path: Path, size: tuple[int, int]) -> None:
    run = make_run(tmp_path / "home", "sick", "running", steps=10, total=500)
    record = run.state()
    record.reason = "no step for 5 min (usually 2 s)"
    fsio.write_json(run.dir / "state.json", record)
    lock = fsio.FileLock(run.dir / "lock")
    assert lock.acquire()
    async with opened(tmp_path / "home", size) as pilot:
        await until_painted(pilot, "sick", "stalled", "no step for 5 min (usually 2 s)")
        await pilot.press("enter")
        await until_painted(pilot, "! stalled", "! no step for 5 min (usually 2 s)")
        record.reason = ""
        records.change_state(run.dir, record, "running")
        with fsio.JsonlWriter(run.dir / "events.jsonl") as events:
            events.append(Event(seq=99, time=1.7e9, kind="diverging", message="the loss is 9.1, it was usually 1.7"))
        await until_painted(pilot, "! diverging", "! the loss is 9.1, it was usually 1.7")
        await pilot.press("escape")
        await until_painted(pilot, "! sick", "diverging")
        with fsio.JsonlWriter(run.dir / "events.jsonl") as events:
            events.append(Event(seq=100, time=1.7e9, kind="recovered", message="the loss is as usual again"))
        await until_painted(pilot, "▶", "running")
    lock.release()


async def test_meters_of_the_devices_are_shown_as_history(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "metered", "running", steps=10, total=500)
    lock = fsio.FileLock(run.dir / "lock")
    assert lock.acquire()
    with fsio.JsonlWriter(run.dir / "devices.jsonl") as file:
        for number in range(5):
            gpu = {"id": "3", "uuid": "GPU-3", "utilisation": number * 25.0, "memory_bytes": 40 * 10**9, "memory_total": 80 * 10**9}
            file.append({"time": 1.7e9 + number, "devices": [{**gpu, "temperature": 61.0, "power": 312.0}]})
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "metered")
        await pilot.press("enter")
        text = await until_painted(pilot, "GPU 3", "100 % busy", "40.0 GB", "61 °C", "312 W")
        assert "▁▃▅▆█" in text and "▅▅▅▅▅" in text
        with fsio.JsonlWriter(run.dir / "devices.jsonl") as file:
            file.append({"time": 1.7e9, "devices": [{"id": "3", "uuid": "GPU-3", "problem": "the GPU has fallen off the bus"}]})
        await until_painted(pilot, "GPU 3", "the GPU has fallen")
        await pilot.resize_terminal(80, 24)
        await until_painted(pilot, "GPU 3 lost")
    lock.release()


@pytest.mark.parametrize("size", SIZES)
async def test_curve_switches_what_it_shows(tmp_path: Path, size: tuple[int, int]) -> None:
    run = make_run(tmp_path / "home", "good", steps=0)
    with fsio.JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        for step in range(1, 101):
            metrics.append(metric_line(step, learning_rate=step * 1e-6, tokens_per_second=1000.0 + step * 10))
        metrics.append({"time": 1.7e9, "attempt": 1, "step": 100, "eval_loss": 1.5})
    async with opened(tmp_path / "home", size) as pilot:
        await until_painted(pilot, "good")
        await pilot.press("enter")
        await until_painted(pilot, "Training loss", "average", "each step")
        for title, label in (("Evaluation loss", "1.5"), ("Learning rate", "e-5┤"), ("Gradient norm", "0.5"), ("Tokens/s", "2k┤")):
            await pilot.press("v")
            await until_painted(pilot, title, label)
        await pilot.press("v")
        await until_painted(pilot, "Training loss")


async def test_curve_zooms_moves_and_reads_out_from_the_keyboard(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "good")
        await pilot.press("enter")
        await until_painted(pilot, "Training loss")
        await pilot.press("less_than_sign")
        await until_painted(pilot, "it shows all steps already")
        await pilot.press("home", "right")
        view = pilot.app.screen.query_one(Plot).view
        assert view.cursor and 1 < view.cursor < 5
        text = await until_painted(pilot, f"step {view.cursor:.0f}", "evaluation 1.500 at 50")
        assert f"training loss {loss_at(int(view.cursor)):.3f}" in text
        await pilot.press("escape", "plus", "plus", "less_than_sign")
        assert view.span and view.end is not None and view.end < 100
        await pilot.press("e", "t")
        await until_painted(pilot, "(log, smoothing strong)")
        await pilot.press("0", "t")
        await until_painted(pilot, "(smoothing off)")
        assert not view.span and not view.log
        await pilot.press("minus")
        await until_painted(pilot, "it shows all steps already")
        await pilot.press("tab", "colon")
        await type_text(pilot, "curves zoom in")
        await until_painted(pilot, "Curves: Zoom in")
        await pilot.press("enter")
        await until(pilot, lambda: view.span, what="an action of a pane that is not in focus")


async def test_other_runs_are_drawn_over_it_and_grow(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "alone", steps=5)
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "alone")
        await pilot.press("enter")
        await until_painted(pilot, "Training loss")
        await pilot.press("o")
        await until_painted(pilot, "there is no other training run")
        other = make_run(tmp_path / "home", "second", "stopped", steps=20)
        await until(pilot, lambda: len(pilot.app.rows) == 2)  # type: ignore[attr-defined]
        await pilot.press("o")
        await until_painted(pilot, "Draw which runs over this one?", "second")
        await pilot.press("enter")
        await until_painted(pilot, "✓ second")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "Training loss  a", " alone  b", " second")
        curves = pilot.app.screen.query_one(Plot).picture.curves
        await until(pilot, lambda: len(curves[1].series) == 20)
        with fsio.JsonlWriter(other.dir / "metrics.jsonl") as metrics:
            metrics.append(metric_line(21))
        await until(pilot, lambda: len(pilot.app.screen.query_one(Plot).picture.curves[1].series) == 21)
        await pilot.press("home")
        await until_painted(pilot, f"a {loss_at(1):.3f}", "b ")
        await pilot.press("o", "enter", "ctrl+s")
        await until(pilot, lambda: len(pilot.app.screen.query_one(Plot).picture.curves) == 1)


@pytest.mark.parametrize("size", SIZES)
async def test_log_is_searched_and_followed(tmp_path: Path, size: tuple[int, int]) -> None:
    run = make_run(tmp_path / "home", "talks", "running", steps=10, total=500)
    lock = fsio.FileLock(run.dir / "lock")
    assert lock.acquire()
    with open(run.dir / "console.log", "a") as console:
        console.writelines(f"line {number}{' slow disk' if number % 100 == 50 else ''}\n" for number in range(400))
    async with opened(tmp_path / "home", size) as pilot:
        await until_painted(pilot, "talks")
        await pilot.press("enter")
        await until_painted(pilot, "prepared")
        await pilot.press("left_square_bracket")
        await until_painted(pilot, "line 399")
        await pilot.press("slash")
        await type_text(pilot, "SLOW")
        await until_painted(pilot, "nothing has 'SLOW'")
        await pilot.press(*["backspace"] * 4)
        await type_text(pilot, "slow")
        await pilot.press("enter")
        await until_painted(pilot, "line 350 slow disk", "4 of 4")
        await pilot.press("n")
        await until_painted(pilot, "line 50 slow disk", "1 of 4")
        await pilot.press("N", "N")
        await until_painted(pilot, "line 250 slow disk", "3 of 4", "f follows")
        with open(run.dir / "console.log", "a") as console:
            console.write("the newest line\n")
        await until(pilot, lambda: pilot.app.screen.facts.log[-1] == "the newest line")  # type: ignore[attr-defined]
        assert "line 250" in painted(pilot.app), "it stays where one reads"
        await pilot.press("escape")
        await until(pilot, lambda: "3 of 4" not in painted(pilot.app))
        await pilot.press("f")
        await until_painted(pilot, "the newest line")
        with open(run.dir / "console.log", "a") as console:
            console.write("one more\n")
        await until_painted(pilot, "one more")
        await pilot.press("k")
        await until_painted(pilot, "f follows")
        await pilot.press("n")
        await until_painted(pilot, "pirate (built in)")  # nothing is sought: n is the run's
    lock.release()


async def test_log_keeps_to_its_width(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "wide")
    words = " ".join(f"word{number}" for number in range(60))
    (run.dir / "console.log").write_text(f"{words}\n{'中' * 100}\nend\n")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "wide")
        await pilot.press("enter")
        await until_painted(pilot, "prepared")
        await pilot.press("left_square_bracket")
        await until_painted(pilot, "end")
        for size in ((60, 20), (120, 40)):
            await pilot.resize_terminal(*size)
            pane = pilot.app.screen.query_one(LogLines)
            await until(pilot, lambda pane=pane, size=size: abs(pane._wrapped - size[0]) < 5)
            rows = [pane._rows[number] for number in range(len(pane._rows))]
            text = [pane.lines[line][0][0][start:stop] for line, start, stop in rows]
            assert all(cell_len(row) <= pane._wrapped for row in text)
            assert "".join(text) == words + "中" * 100 + "end" and any(row.endswith(" ") for row in text)


@pytest.mark.parametrize("size", SIZES)
async def test_devices_over_the_whole_run(tmp_path: Path, size: tuple[int, int]) -> None:
    run = make_run(tmp_path / "home", "metered")
    with fsio.JsonlWriter(run.dir / "devices.jsonl") as file:
        for number in range(200):
            gpu = {"id": "3", "uuid": "GPU-3", "memory_bytes": 40 * 10**9, "memory_total": 80 * 10**9}
            file.append({"time": 1.7e9 + 5 * number, "devices": [{**gpu, "utilisation": 100.0 if number < 100 else 20.0, "power": 312.0}]})
    async with opened(tmp_path / "home", size) as pilot:
        await until_painted(pilot, "metered")
        await pilot.press("enter")
        await until_painted(pilot, "prepared")
        await pilot.press("right_square_bracket", "right_square_bracket")
        text = await until_painted(pilot, "GPU 3", "20 %, mean 60 %", "40.0 GB, peak 40.0 GB")
        graph = next(line for line in text.splitlines() if "mean 60 %" in line)
        assert graph.count("█") > 8 and graph.count("▂") > 8, "the graph goes back to the start of the run"
        with fsio.JsonlWriter(run.dir / "devices.jsonl") as file:
            file.append({"time": 1.7e9 + 1000, "devices": [{"id": "3", "uuid": "GPU-3", "problem": "the GPU has fallen off the bus"}]})
        await until_painted(pilot, "GPU 3  the GPU has fallen off the bus")


async def test_everything_is_ascii_where_asked(tmp_path: Path) -> None:
    for name in ("one", "two"):
        make_run(tmp_path / "home", name)
    async with opened(tmp_path / "home", (80, 24), ascii=True) as pilot:
        await until_painted(pilot, "two")
        await pilot.press("enter")
        await until_painted(pilot, "Training loss")
        await pilot.press("o", "enter", "ctrl+s")
        text = await until_painted(pilot, "Training loss  a", " two  b", " one")
        await pilot.press("left")
        text += await until_painted(pilot, "step 100")
        assert text.isascii(), {character for character in text if not character.isascii()}
