"""The form: what is typed becomes a value, what cannot be used is said while it is typed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pytest
from finetui.core.options import option
from finetui.tui.widgets.fields import Field, changed_values, option_fields, read_value, show_value
from finetui.tui.widgets.form import Form
from support.tui import BareApp, painted, type_text
from textual import events
from textual.app import ComposeResult


@dataclass(frozen=True)
class Options:
    rank: int = option(16, "Rank.", minimum=1, maximum=64, group="Adapter")
    rate: float | None = option(None, "Rate.", minimum=0.0, group="Adapter")
    fast: bool = option(True, "Fast?", group="Adapter")
    shape: Literal["a", "b", "c"] = option("a", "Shape.", group="Adapter")
    targets: list[str] | Literal["auto"] = option("auto", "Targets.", group="Adapter")
    secret: int = option(1, "Hidden at first.", group="Adapter", advanced=True)


def fields() -> list[Field]:
    return option_fields(Options, {}, "method")


@pytest.mark.parametrize(
    ("key", "text", "value"),
    [
        ("rank", "32", 32), ("rate", "2e-4", 2e-4), ("rate", "auto", None), ("fast", "off", False),
        ("targets", "q_proj, v_proj", ["q_proj", "v_proj"]), ("targets", "auto", "auto"),
    ],
)  # fmt: skip
def test_texts_become_values(key: str, text: str, value: object) -> None:
    field = next(field for field in fields() if field.label == key)
    assert field.read(text) == value
    assert field.try_text(text) == ""


@pytest.mark.parametrize(
    ("key", "text", "reason"), [("rank", "two", "whole number"), ("rank", "0", "below its minimum"), ("rate", "-1", "below")]
)
def test_texts_that_cannot_be_used_say_why(key: str, text: str, reason: str) -> None:
    field = next(field for field in fields() if field.label == key)
    assert reason in field.try_text(text)


def test_dicts_are_read_as_toml_or_bare_words() -> None:
    field = Field("columns", "columns", "dict")
    assert read_value(field, 'prompt="question"') == {"prompt": "question"}
    assert read_value(field, "prompt=question, response=answer") == {"prompt": "question", "response": "answer"}
    assert show_value({"prompt": "question"}) == "prompt=question"
    with pytest.raises(ValueError, match="name=value"):
        read_value(field, "nonsense")


class FormApp(BareApp):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, object]] = []

    def compose(self) -> ComposeResult:
        yield Form([*fields(), Field("go", "Go", "button")], id="form")

    def on_mount(self) -> None:
        self.query_one(Form).focus()

    def on_form_changed(self, event: Form.Changed) -> None:
        self.seen.append((event.field.label, event.field.value))

    def on_form_pressed(self, event: Form.Pressed) -> None:
        self.seen.append(("pressed", event.field.key))


async def test_typing_changes_a_number_and_marks_it() -> None:
    async with FormApp().run_test(size=(60, 16)) as pilot:
        app: FormApp = pilot.app  # type: ignore[assignment]
        form = app.query_one(Form)
        await pilot.press("enter", "ctrl+u")
        await type_text(pilot, "99")
        assert "above its maximum" in painted(app)
        await pilot.press("enter")
        assert form.editor is not None, "a value that cannot be used is not taken"
        await pilot.press("ctrl+u")
        await type_text(pilot, "8")
        await pilot.press("enter")
        assert app.seen == [("rank", 8)]
        assert "● rank" in painted(app) and "was 16" in painted(app)
        assert changed_values(form.fields, "method") == {"rank": 8}
        await pilot.press("delete")
        assert app.seen[-1] == ("rank", 16) and "●" not in painted(app)


async def test_escape_leaves_the_value_and_digits_start_typing() -> None:
    async with FormApp().run_test(size=(60, 16)) as pilot:
        app: FormApp = pilot.app  # type: ignore[assignment]
        await pilot.press("4", "8", "escape")
        assert app.seen == [] and app.query_one(Form).editor is None
        await pilot.press("4", "8", "down")
        assert app.seen == [("rank", 48)]
        assert app.query_one(Form).current.label == "rate"  # type: ignore[union-attr]


async def test_switches_choices_buttons_and_folding() -> None:
    async with FormApp().run_test(size=(60, 16)) as pilot:
        app: FormApp = pilot.app  # type: ignore[assignment]
        await pilot.press("j", "j", "space", "j", "right", "h", "left")
        assert app.seen == [("fast", False), ("shape", "b"), ("shape", "a"), ("shape", "c")]
        assert "secret" not in painted(app) and "1 more: a" in painted(app)
        app.query_one(Form).fold(True)
        await pilot.pause()
        assert "secret" in painted(app)
        await pilot.press("G", "enter")
        assert app.seen[-1] == ("pressed", "go")
        await pilot.press("g")
        assert app.query_one(Form).current.label == "rank"  # type: ignore[union-attr]


async def test_paste_goes_into_the_field() -> None:
    async with FormApp().run_test(size=(60, 16)) as pilot:
        app: FormApp = pilot.app  # type: ignore[assignment]
        app.query_one(Form).post_message(events.Paste("24\n"))
        await pilot.pause()
        await pilot.press("enter")
        assert app.seen == [("rank", 24)]
