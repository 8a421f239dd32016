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
from finetui.tui.screens.compare import CompareScreen
from finetui.tui.screens.run import RunScreen
from finetui.tui.widgets.curves import Curve, Curves
from support import toycompare
from support.runs import toys_in
from support.tui import SIZES, BareApp, make_run, metric_line, opened, painted, until, until_painted
from textual.app import ComposeResult


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
        curve = next(curve for curve in pilot.app.screen.query_one(Curves).curves if curve.number == 1)
        assert curve.steps == list(range(1, 61))
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


def test_a_resumed_attempt_replaces_what_it_trains_again(tmp_path: Path) -> None:
    run = make_run(tmp_path / "home", "one", "running", steps=10)
    reader = Reader(Home(tmp_path / "home"), [run.id])
    assert reader.read().curves[0].steps == list(range(1, 11))
    with fsio.JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        metrics.append(metric_line(6, attempt=2))
    assert reader.read().curves[0].steps == list(range(1, 7))


class CurvesApp(BareApp):
    def compose(self) -> ComposeResult:
        yield Curves(id="curves")


async def test_letters_end_the_curves_and_never_hide_one_another() -> None:
    async with CurvesApp().run_test(size=(80, 20)) as pilot:
        plot = pilot.app.query_one(Curves)
        assert "waiting for the first step" in painted(pilot.app)
        steps = [float(step) for step in range(1, 101)]
        plot.put([Curve(number, steps, [3.0 - step / 100 for step in steps]) for number in range(3)])
        await pilot.pause()
        text = painted(pilot.app)
        assert re.search("[abc]{3}", text), text
        plot.put([Curve(0, [1.0], [float("nan")])])
        await pilot.pause()
        assert "waiting for the first step" in painted(pilot.app)


async def test_the_empty_screen_says_everything_at_80_columns(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", size=(80, 24)) as pilot:
        await pilot.press("4")
        await until_painted(pilot, "Nothing to compare yet", "compare`.")
