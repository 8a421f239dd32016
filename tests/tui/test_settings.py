"""Settings: what is changed is checked, saved and in force at once, and can be taken back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finetui.core.config import load_settings
from finetui.core.paths import config_file
from finetui.tui.screens.settings import SettingsScreen
from support.tui import opened, type_text, until, until_painted
from textual.pilot import Pilot


async def settings_of(pilot: Pilot[int]) -> SettingsScreen:
    """Open the settings."""
    await pilot.press("9")
    await until_painted(pilot, "Settings", "theme")
    screen: Any = pilot.app.screen
    return screen


async def test_a_theme_is_in_force_at_once_saved_and_taken_back(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await settings_of(pilot)
        await pilot.press("right")
        await until_painted(pilot, "finetui-light", "theme saved")
        assert pilot.app.theme == "finetui-light" and load_settings().theme == "finetui-light"
        await pilot.press("right")
        await until(pilot, lambda: pilot.app.theme == "finetui-contrast")
        await pilot.press("u")
        await until(pilot, lambda: load_settings().theme == "finetui-light" and pilot.app.theme == "finetui-light")
        await pilot.press("u")
        await until(pilot, lambda: pilot.app.theme == "finetui-dark")
        assert config_file().read_text().strip() == "" and screen.why_not("undo") == "nothing has been changed yet"


async def test_a_value_that_is_not_allowed_is_told_and_not_saved(tmp_path: Path) -> None:
    config_file().write_text("data_cache_gb = 5.0 # small disk\n")
    async with opened(tmp_path / "home") as pilot:
        screen = await settings_of(pilot)
        screen.form.set("settings.data_cache_gb", -1.0)
        await until_painted(pilot, "below its minimum 0")
        assert config_file().read_text() == "data_cache_gb = 5.0 # small disk\n"
        screen.form.set("settings.notify.webhook", "hooks.example.org")
        await until_painted(pilot, "webhook is no http:// or https:// address")
        assert config_file().read_text() == "data_cache_gb = 5.0 # small disk\n"


async def test_keys_are_remapped_while_the_screen_is_open(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await settings_of(pilot)
        screen.form.set("settings.keys", {"app.quit": "j"})
        await until_painted(pilot, "j is the key of 'list.down'")
        screen.form.set("settings.keys", {"settings.undo": "Z"})
        await until_painted(pilot, "Z Undo")
        assert load_settings().keys == {"settings.undo": "Z"}
        await pilot.press("Z")
        await until_painted(pilot, "u Undo")


async def test_what_comes_from_the_environment_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_HOME", "/scratch/x")
    async with opened(tmp_path / "home") as pilot:
        await settings_of(pilot)
        await until_painted(pilot, "FINETUI_HOME=/scratch/x is used instead")


async def test_the_filter_finds_by_meaning(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        screen = await settings_of(pilot)
        await pilot.press("slash")
        await type_text(pilot, "bell")
        await pilot.press("enter")
        assert [field.label for field in screen.form.fields] == ["notify.bell"]
        await pilot.press("space")
        await until(pilot, lambda: not load_settings().notify.bell)
        assert pilot.app.settings.notify.bell is False  # type: ignore[attr-defined]


async def test_a_file_broken_meanwhile_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        await settings_of(pilot)
        config_file().write_text("theme = \n")
        await pilot.press("r")
        await until_painted(pilot, "✖ usage", "the file must be TOML")
