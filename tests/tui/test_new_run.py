"""The form of a new run: generated from declarations, priced as it is changed, and the same as a command."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import msgspec
import pytest
from finetui.core import registry
from finetui.core.devices import cpu_device
from finetui.core.options import describe
from finetui.core.runs import planning
from finetui.core.training import TrainingOptions
from finetui.plugins.methods.lora import LoraOptions
from finetui.tui.glyphs import ASCII, UNICODE
from finetui.tui.screens.new_run import NewRunScreen
from finetui.tui.widgets.price import stack
from support.gpus import eight_gpus
from support.tui import SIZES, opened, painted, type_text, until, until_painted
from textual.pilot import Pilot


async def new_run(pilot: Pilot[int]) -> NewRunScreen:
    """Open the form with the built-in model and data; the price is known."""
    await until_painted(pilot, "Fine-tune the built-in model")
    await pilot.press("enter")
    await until_painted(pilot, "New run")
    screen = pilot.app.screen
    assert isinstance(screen, NewRunScreen)
    await until(pilot, lambda: screen.plan is not None and screen.rows, what="the price with the data's lengths")
    await pilot.pause(0.3)
    return screen


async def test_has_every_declared_option_of_method_and_loop(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        labels = [field.label for field in screen.form.fields]
        for option in [*describe(LoraOptions), *describe(TrainingOptions)]:
            assert labels.count(option.name) == 1
        advanced = next(option.name for option in describe(TrainingOptions) if option.advanced)
        assert advanced not in painted(pilot.app)
        await pilot.press("a", "G")
        await until(pilot, lambda: screen.form.unfolded)
        screen.form.show(screen.form.fields, f"training.{advanced}")
        screen.form.move(0)
        await until_painted(pilot, advanced)


@pytest.fixture
def third_party(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A method installed by somebody else's package."""
    real = registry.entry_points

    def entry_points(*, group: str) -> list[EntryPoint]:
        extra = [EntryPoint("gentle", "support.gentle:Gentle", group)] if group == "finetui.methods" else []
        return [*real(group=group), *extra]

    monkeypatch.setattr(registry, "entry_points", entry_points)
    registry._points.cache_clear()
    yield
    registry._points.cache_clear()
    registry.load.cache_clear()


async def test_third_party_method_has_a_form(tmp_path: Path, third_party: None) -> None:
    async with opened(tmp_path / "home", (120, 44)) as pilot:
        screen = await new_run(pilot)
        screen.form.show(screen.form.fields, "method")
        await pilot.press("enter")
        await until_painted(
            pilot, "Methods for finetui-mini", "gentle", "qlora", "full", "the speed of full", "When nothing speaks against it"
        )
        await pilot.press("slash")
        await type_text(pilot, "gent")
        await pilot.press("enter", "enter")
        text = await until_painted(pilot, "Options of gentle", "softness", "--method gentle")
        assert "lora_alpha" not in text
        screen.form.set("method.softness", 3)
        await until_painted(pilot, "--set softness=3", "● softness")


async def test_validation_while_typing_blocks_the_start(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        screen.form.show(screen.form.fields, "method.r")
        await pilot.press("enter", "ctrl+u")
        await type_text(pilot, "0")
        await until_painted(pilot, "below its minimum 1")
        await pilot.press("enter")
        assert screen.form.editor is not None
        await pilot.press("ctrl+s")
        await pilot.pause(0.3)
        assert screen.form.editor is not None and pilot.app.screen is screen, "the old value is not started with"
        await pilot.press("escape")
        screen.form.set("name", "no spaces allowed")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "cannot be a name")
        assert pilot.app.screen is screen


async def test_memory_follows_the_batch_size(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        before = screen.plan
        screen.form.set("training.per_device_train_batch_size", 2)
        await until(pilot, lambda: screen.plan is not before, what="another price")
        assert screen.plan.total_bytes < before.total_bytes
        assert sum(screen.plan.parts.values()) == screen.plan.total_bytes
        text = await until_painted(pilot, "fits", "activations", "weights", "per_device_train_batch_size=2")
        assert "of" in text and "free" in text and "on the CPU" in text


async def test_what_does_not_fit_is_refused_with_what_would(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        long = tmp_path / "long.jsonl"
        long.write_text('{"text": "%s"}\n' % ("a very long row " * 250) * 4000)
        screen.answers.data = [str(long)]
        screen._read_data()
        screen.form.set("training.per_device_train_batch_size", 4000)
        await until_painted(pilot, "✖ does not fit", "→")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "✖ does not fit", "needs about", seconds=30)
        await pilot.press("escape")
        assert list((tmp_path / "home" / "runs").iterdir()) == []
        assert screen.why_not("start") == ""


@pytest.mark.parametrize("size", SIZES)
async def test_fits_every_size(tmp_path: Path, size: tuple[int, int]) -> None:
    async with opened(tmp_path / "home", size) as pilot:
        await new_run(pilot)
        await until_painted(pilot, "finetui-mini", "Start", "fits")


async def test_data_and_its_problems(tmp_path: Path) -> None:
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"prompt": "a", "response": "b"}\n{"prompt": 7}\n')
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        screen.form.show(screen.form.fields, "data")
        await pilot.press("enter")
        await until_painted(pilot, "Data", "pirate", "json", "built in")
        await type_text(pilot, str(tmp_path) + "/ba")
        await until_painted(pilot, "bad.jsonl")
        await pilot.press("enter")
        await until(pilot, lambda: "problem" in screen.form.field("data").error, what="the problem")
        assert "bad.jsonl:2" in screen.form.field("data").error
        assert screen.why_not("start")
        await pilot.press("v")
        await until_painted(pilot, "bad.jsonl:2", "1 problem", "1 good row", "mend it")


async def test_the_form_opens_once_and_quitting_works_in_dialogs(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        await pilot.press("n")
        await pilot.pause()
        assert pilot.app.screen is screen
        screen.form.show(screen.form.fields, "model")
        await pilot.press("enter")
        await until_painted(pilot, "Base model")
        await pilot.press("ctrl+q")
        await until(pilot, lambda: not pilot.app.is_running or pilot.app._exit)


async def test_make_it_fit_applies_what_the_planner_suggests_and_says_which(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        await pilot.press("f")
        await until_painted(pilot, "it fits already")
        long = tmp_path / "long.jsonl"
        long.write_text('{"text": "%s"}\n' % ("a very long row " * 250) * 4000)
        screen.answers.data = [str(long)]
        screen.chose_data()
        screen.form.set("training.per_device_train_batch_size", 4000)
        await until_painted(pilot, "✖ does not fit", "f makes it fit")
        await pilot.press("f")
        text = await until_painted(pilot, "To make it fit", "✔ fits")
        changed = screen.answers.settings
        size, steps = changed["per_device_train_batch_size"], changed["gradient_accumulation_steps"]
        assert size * steps == 4000, "the effective batch stays"
        assert f"per_device_train_batch_size 4000 → {size}" in " ".join(text.split()) and f"steps 1 → {steps}" in " ".join(text.split())
        assert screen.plan is not None and screen.plan.fits and not screen.why_not("start")


async def test_where_no_setting_is_enough_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        small = msgspec.structs.replace(cpu_device(), memory_free=10_000_000)
        monkeypatch.setattr(planning, "select", lambda _: [small])
        screen.form.set("seed", 1)
        await until_painted(pilot, "✖ does not fit", "nothing here fits")
        await pilot.press("f")
        await until_painted(pilot, "no change of settings is enough")


async def test_the_price_is_shown_against_each_kind_of_device_and_what_is_busy_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with eight_gpus(tmp_path, monkeypatch) as gpus:
        async with opened(tmp_path / "home") as pilot:
            screen = await new_run(pilot)
            await until_painted(pilot, "8 GPUs", "of 80.0 GB free", "enter or ctrl+s")
            gpus.use(**{f"gpu{number}": 79.9 for number in range(8)})  # type: ignore[arg-type]
            screen.form.set("training.per_device_train_batch_size", 64)
            await until_painted(pilot, "would wait for a GPU with")
            assert not screen.why_not("start"), "it may be started all the same: it waits in the queue"
            screen.answers.gpus = "3"
            screen.chose()
            await until_painted(pilot, "GPU 3", "free on GPU 3")


def test_parts_are_told_apart_without_colour() -> None:
    parts = {"weights": 40, "activations": 50, "overhead": 10, "adapter": 0}
    drawn = "".join(text for text, _ in stack(parts, 200, 20, UNICODE))
    assert drawn == "▇▇▇▇▇▅▅▅▅▇" + "░" * 10
    assert "".join(text for text, _ in stack(parts, 200, 20, ASCII)) == "#####====#.........."
    too_much = stack(parts, 50, 20, UNICODE)
    assert "".join(text for text, _ in too_much) == "▇" * 10 + "│" + "▅" * 7 + "▇▇", "the rule is where the memory ends"
    assert {style for _, style in too_much} == {"$error", "bold $foreground"}


async def test_the_task_follows_the_model_and_can_be_changed(tmp_path: Path) -> None:
    file = tmp_path / "labels.jsonl"
    file.write_text('{"text": "a good film", "label": "pos"}\n{"text": "a bad film", "label": "neg"}\n')
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        await until_painted(pilot, "causal-lm: Qwen2ForCausalLM writes text", "«Arr!")
        screen.answers.data, screen.answers.eval_data = [str(file)], []
        screen.chose_data()
        await until_painted(pilot, "causal-lm; seq-cls learns the labels", "labels.jsonl  2 rows", "«a good film»")
        screen.form.show(screen.form.fields, "task")
        await pilot.press("right", "right")
        await until_painted(pilot, "seq-cls", "2 rows, classification", "→ «pos»", "--task seq-cls")
        screen.form.set("task", None)
        screen.form.set("columns", {"label": "label"})
        await until_painted(pilot, "seq-cls: a column is renamed to label")


async def test_whole_numbers_in_lists(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await new_run(pilot)
        screen.answers.choose(["adapter"])
        screen.chose()
        screen.form.fold(True)
        screen.form.show(screen.form.fields, "method.layers")
        await pilot.press("enter", "ctrl+u")
        await type_text(pilot, "0")
        await pilot.press("enter")
        await until(pilot, lambda: screen.answers.settings.get("layers") == [0], what="a list of numbers")
        assert not screen.form.field("method.layers").error
