"""The Compare screen: a comparison's table, curves, bars and notes; rows that fill in; marked runs; export."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from finetui.core import fsio
from finetui.core.compare.table import compare_table
from finetui.core.paths import Home
from finetui.core.runs.launch import launch
from finetui.core.runs.spec import CompareRequest, EvaluateRequest, Result
from finetui.core.runs.store import Run, RunStore
from finetui.tui.comparing import Reader
from finetui.tui.histories import History
from finetui.tui.screens.compare import CompareScreen
from finetui.tui.screens.run import RunScreen
from finetui.tui.widgets.plot import Plot
from support import toycompare
from support.runs import toys_in
from support.tui import SIZES, make_run, metric_line, opened, painted, until, until_painted


def comparison(home: Path, states: dict[str, str], *, ended: bool = True) -> Run:
    """A comparison whose children's files are as real runs leave them."""
    store = RunStore(Home(home).create())
    refusal = {"kind": "incompatible", "message": "it has no biases", "hint": ""}
    entries = [toycompare.entry(f"cmp-{name}", label=name, error=refusal if state == "refused" else None) for name, state in states.items()]
    evaluation: dict[str, Any] = {"data": ["/d/pirate.jsonl"], "held_out": 0.1, "split_seed": 0}
    request = CompareRequest(model="base", model_path="/base", data=["/d/pirate.jsonl"], entries=entries, evaluation=evaluation)
    run = store.create("compare", "cmp", request)
    results = []
    for number, (name, state) in enumerate(states.items()):
        if state not in ("waiting", "refused"):
            steps = 100 if state == "succeeded" else 40
            error = {"kind": "oom", "message": "out of memory", "hint": ""} if state == "failed" else None
            child = make_run(home, f"cmp-{name}", state, steps=steps, error=error)
            spec = json.loads((child.dir / "spec.json").read_text())
            fsio.write_json(child.dir / "spec.json", {**spec, "parent": run.id})
            results.append({"adapter": str(Home(home).adapters / f"cmp-{name}"), "loss": 1.5 - number / 10, "perplexity": 4.0})
    if ended:
        asked = EvaluateRequest(model="base", model_path="/base", data=["/d/pirate.jsonl"])
        child = store.create("evaluate", "cmp-eval", asked, parent=run.id)
        rows = [{"adapter": None, "loss": 2.5, "perplexity": 12.0, "generate_tokens_per_second": 100.0}, *results]
        fsio.write_json(child.dir / "result.json", Result(state="succeeded", attempt=1, finished=1.7e9, result={"rows": rows}))
        table = compare_table(store, run)
        fsio.write_json(run.dir / "result.json", Result(state="succeeded", attempt=1, finished=1.7e9, result=table))
    record = run.state()
    record.state, record.started = "succeeded" if ended else "running", 1.7e9
    fsio.write_json(run.dir / "state.json", record)
    return run


@pytest.mark.parametrize("size", SIZES)
async def test_shows_table_curves_bars_and_notes(tmp_path: Path, size: tuple[int, int]) -> None:
    comparison(tmp_path / "home", {"lora": "succeeded", "qlora": "succeeded", "bitfit": "refused", "full": "failed"})
    async with opened(tmp_path / "home", size) as pilot:
        await until_painted(pilot, "cmp")
        assert "cmp-lora" not in painted(pilot.app), "the children are seen in their comparison"
        await pilot.press("enter")
        text = await until_painted(pilot, "cmp", "✔ succeeded", "eval loss", "a ✔ lora", "b ✔ qlora", "c ✖ bitfit", "d ✖ full")
        assert "1.500" in text and "refused" in text and any(0x2800 < ord(character) < 0x2900 for character in text)
        assert "Training loss" in text
        await pilot.press("v")
        await until_painted(pilot, "Evaluation loss")
        await pilot.press("b")
        await until_painted(pilot, "less is better")
        await pilot.press("b")
        await until_painted(pilot, "trains")
        await pilot.press("right_square_bracket")
        await until_painted(pilot, "10% of pirate.jsonl")
        if size[0] < 100:
            await pilot.press("right", "right", "right")
            await until(pilot, lambda: "perplexity" not in painted(pilot.app))
        await pilot.press("escape")
        await until_painted(pilot, "Finished")


async def test_enter_opens_the_rows_run_and_the_base_has_none(tmp_path: Path) -> None:
    comparison(tmp_path / "home", {"lora": "succeeded"})
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("4")
        await until_painted(pilot, "a ✔ lora")
        await pilot.press("enter")
        await until_painted(pilot, "this row has no run")
        await pilot.press("j", "enter")
        await until_painted(pilot, "cmp-lora", "train loss")
        assert isinstance(pilot.app.screen, RunScreen)


async def test_rows_fill_in_while_it_runs(tmp_path: Path) -> None:
    run = comparison(tmp_path / "home", {"lora": "succeeded", "qlora": "running", "full": "waiting"}, ended=False)
    store = RunStore(Home(tmp_path / "home"))
    child = next(one for one in store.children(run) if one.spec.name == "cmp-qlora")
    locks = [fsio.FileLock(one.dir / "lock") for one in (run, child)]
    assert all(lock.acquire() for lock in locks)
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("4")
        await until_painted(pilot, "▶ qlora", "running 40 %", "⧗ full", "waiting")
        with fsio.JsonlWriter(child.dir / "metrics.jsonl") as metrics:
            for step in range(41, 61):
                metrics.append(metric_line(step))
        await until_painted(pilot, "running 60 %")
        curve = next(curve for curve in pilot.app.screen.query_one(Plot).picture.curves if curve.number == 1)
        assert curve.series.xs.tolist() == list(range(1, 61))
    for lock in locks:
        lock.release()


async def test_a_real_comparison_is_stopped_and_resumed_from_the_screen(tmp_path: Path) -> None:
    with toys_in(tmp_path / "home") as toys:
        run = toycompare.create(toys.store, [toycompare.entry("one", steps=3), toycompare.entry("two", steps=80, pause=0.05)])
        toys.runs.append(run)
        launch(run)
        async with opened(tmp_path / "home") as pilot:
            await pilot.press("4")
            await until_painted(pilot, "▶ two", seconds=40)
            await pilot.press("s")
            await until_painted(pilot, "■ stopped", "■ two", seconds=40)
            await pilot.press("R")
            await until_painted(pilot, "✔ succeeded", "✔ two", "1.000", seconds=60)


async def test_marked_runs_are_compared(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        make_run(tmp_path / "home", name)
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "three")
        await pilot.press("v")
        await until_painted(pilot, "mark at least two training runs")
        await pilot.press("space", "j", "space")
        await until(pilot, lambda: len(re.findall("✔✓", painted(pilot.app))) == 2)
        await pilot.press("v")
        text = await until_painted(pilot, "2 runs", "a ✔ two", "b ✔ three")
        assert "one " not in text.split("Training loss")[0]
        assert isinstance(pilot.app.screen, CompareScreen)


async def test_nothing_to_compare_yet_and_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("4")
        await until_painted(pilot, "Nothing to compare yet")
        comparison(tmp_path / "home", {"lora": "succeeded"})
        await until_painted(pilot, "a ✔ lora")
        await pilot.press("x")
        await until_painted(pilot, "Markdown, for people")
        await pilot.press("enter")
        await until_painted(pilot, "wrote")
        assert "| lora |" in (tmp_path / "cmp.md").read_text()


async def test_runs_are_chosen_on_the_screen_and_the_table_is_copied(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        make_run(tmp_path / "home", name)
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("4")
        await until_painted(pilot, "Nothing to compare yet")
        await pilot.press("a")
        await until_painted(pilot, "Compare which runs?", "three")
        await pilot.press("enter", "ctrl+s")
        await until_painted(pilot, "mark at least 2")
        await pilot.press("down", "down", "enter", "ctrl+s")
        text = await until_painted(pilot, "2 runs", "a ✔ one", "b ✔ three")
        assert "two" not in text
        await pilot.press("y")
        await until_painted(pilot, "copied the table as Markdown")
        assert "| one |" in pilot.app.clipboard
        await pilot.press("Y")
        await until(pilot, lambda: len(pilot.app.clipboard.split()) == 2)


@pytest.mark.parametrize("size", [*SIZES, (200, 60)])
async def test_only_options_that_differ_have_columns(tmp_path: Path, size: tuple[int, int]) -> None:
    for name, rate, seed in (("slow", 1e-5, 3), ("fast", 3e-3, 3)):
        run = make_run(tmp_path / "home", name)
        spec = json.loads((run.dir / "spec.json").read_text())
        spec["request"]["options"] = {"learning_rate": rate, "warmup_steps": seed}
        fsio.write_json(run.dir / "spec.json", spec)
    async with opened(tmp_path / "home", size) as pilot:
        await until_painted(pilot, "fast")
        await pilot.press("space", "j", "space", "v")
        await until_painted(pilot, "2 runs")
        if size[0] < 200:
            await pilot.press(*["right"] * 12)
        text = await until_painted(pilot, "learning_rate", "1e-05", "0.003")
        assert "warmup_steps" not in text


@pytest.mark.parametrize("size", SIZES)
async def test_curves_are_zoomed_and_read_out_here_too(tmp_path: Path, size: tuple[int, int]) -> None:
    comparison(tmp_path / "home", {"lora": "succeeded", "qlora": "succeeded"})
    async with opened(tmp_path / "home", size) as pilot:
        await pilot.press("4")
        await until_painted(pilot, "Training loss", "a ✔ lora")
        await pilot.press("tab", "plus", "end")
        plot = pilot.app.screen.query_one(Plot)
        assert plot.view.span and plot.view.cursor == 100
        await until_painted(pilot, "step 100", "a 1.", "b 1.")
        await pilot.press("v", "v")
        await until_painted(pilot, "a 2e-4", "b 2e-4")


async def test_export_says_what_it_replaces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    comparison(tmp_path / "home", {"lora": "succeeded"})
    (tmp_path / "cmp.csv").write_text("mine")
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("4")
        await until_painted(pilot, "a ✔ lora")
        await pilot.press("x")
        text = await until_painted(pilot, "CSV, for spreadsheets, in place of the one there")
        assert text.count("in place of") == 1


def test_a_resumed_attempt_replaces_what_it_trains_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "one", "running", steps=10)
    reader, history = Reader(Home(tmp_path / "home"), [run.id]), History()
    history.take(reader.read().lines[0])
    assert history["loss"].xs.tolist() == list(range(1, 11))
    with fsio.JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        metrics.append(metric_line(6, attempt=2))
    history.take(reader.read().lines[0])
    assert history["loss"].xs.tolist() == list(range(1, 7))


async def test_the_empty_screen_says_everything_at_80_columns(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", size=(80, 24)) as pilot:
        await pilot.press("4")
        await until_painted(pilot, "Nothing to compare yet", "compare`.")
