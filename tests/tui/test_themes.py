"""Colours that can be read (WCAG 2 contrast), in every theme; and a screen of ASCII only."""

from __future__ import annotations

from pathlib import Path

import pytest
from finetui.tui.theme import CONTRAST, DARK, LIGHT, THEMES
from support.tui import make_run, opened, painted, until_painted
from textual.color import Color
from textual.theme import Theme

TEXTS = ("foreground", "muted", "faint", "accent", "success", "warning", "error")
GROUNDS = ("background", "panel", "chosen")


def luminance(colour: Color) -> float:
    """Relative luminance (https://www.w3.org/TR/WCAG21/#dfn-relative-luminance)."""
    parts = [part / 255 for part in colour.rgb]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: Color, other: Color) -> float:
    """Contrast ratio, 1 to 21."""
    light, dark = sorted((luminance(one), luminance(other)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def colour(theme: Theme, name: str) -> Color:
    """A colour or variable of a theme."""
    return Color.parse(theme.variables.get(name) or getattr(theme, name))


def test_contrast_is_computed_as_the_standard_says() -> None:
    assert round(contrast(Color.parse("#ffffff"), Color.parse("#000000")), 2) == 21
    assert round(contrast(Color.parse("#777777"), Color.parse("#ffffff")), 2) == 4.48


@pytest.mark.parametrize("ground", GROUNDS)
@pytest.mark.parametrize("text", TEXTS)
def test_every_text_of_the_high_contrast_theme_is_aaa(text: str, ground: str) -> None:
    assert contrast(colour(CONTRAST, text), colour(CONTRAST, ground)) >= 7


@pytest.mark.parametrize("theme", [DARK, LIGHT], ids=lambda theme: theme.name)
@pytest.mark.parametrize("text", TEXTS)
def test_the_other_themes_can_be_read(theme: Theme, text: str) -> None:
    """4.5:1 for what has to be read (WCAG AA), 3:1 for the faint remarks beside it."""
    for ground in GROUNDS:
        assert contrast(colour(theme, text), colour(theme, ground)) >= (3 if text == "faint" else 4.5), ground


@pytest.mark.parametrize("name", [theme.name for theme in THEMES])
async def test_every_theme_paints_the_same_text(tmp_path: Path, name: str) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home", theme=name) as pilot:
        await until_painted(pilot, "good", "✔", "succeeded")
        assert pilot.app.theme == name


async def test_without_colour_states_are_still_words_and_no_cell_is_coloured(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    make_run(tmp_path / "home", "good")
    make_run(tmp_path / "home", "bad", "failed", error={"kind": "data", "message": "no answer", "hint": ""})
    async with opened(tmp_path / "home", theme="finetui-16") as pilot:
        await until_painted(pilot, "✔ good", "succeeded", "✖ bad", "failed")
        picture = pilot.app.export_screenshot()
        drawn = {line.partition("fill: ")[2][:7] for line in picture.splitlines() if line.startswith(".terminal") and "fill: #" in line}
        assert drawn and all(
            Color.parse(value).rgb[0] == Color.parse(value).rgb[1] == Color.parse(value).rgb[2] for value in drawn - {"#c5c8c6"}
        )


@pytest.mark.parametrize("key", ["1", "5", "8", "9", "question_mark", "n"])
async def test_ascii_is_ascii(tmp_path: Path, key: str) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home", ascii=True) as pilot:
        await until_painted(pilot, "+ good", "succeeded")
        await pilot.press(key)
        await pilot.pause(1.0)
        strange = {character for character in painted(pilot.app) if not character.isascii()}  # type: ignore[arg-type]
        assert strange == set()
