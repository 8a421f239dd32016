"""Keys from the configuration: in force, shown everywhere, and told where they cannot be followed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from finetui.core.config import load_settings
from finetui.core.paths import config_file
from finetui.tui.actions import ACTIONS, by_id
from finetui.tui.keymap import Keymap, key_named
from finetui.tui.screens.home import HomeScreen
from support.tui import make_run, opened, until, until_painted
from textual.widgets import Input


@pytest.mark.parametrize(
    ("written", "key"),
    [
        ("X", "X"), ("F5", "f5"), ("?", "question_mark"), ("esc", "escape"), (" ctrl+left ", "ctrl+left"), ("+", "plus"), ("/", "slash"),
        ("]", "right_square_bracket"), ("PgDn", "pagedown"), ("alt+x", "alt+x"), ("comma", "comma"), ("ö", "ö"), ("→", "right"),
        ("crtl+x", ""), ("nonsense", ""), ("", ""), ("ctrl+", ""),
    ],
)  # fmt: skip
def test_keys_are_written_as_the_help_shows_them(written: str, key: str) -> None:
    assert key_named(written) == key


def test_several_keys_are_a_list_or_have_commas_between_them() -> None:
    for written in ("Z, F5,Z", ["Z", "F5"]):
        keymap = Keymap({"run.kill": written})
        assert keymap.problems == [] and keymap.labels(by_id("run.kill")) == "Z F5"


def test_every_declared_key_is_shown_as_it_may_be_written() -> None:
    keymap = Keymap()
    for action in ACTIONS:
        for key in keymap.keys(action):
            assert key_named(keymap.label(key)) == key


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"home.stpo": "x"}, "there is no action 'home.stpo'; did you mean 'home.stop'"),
        ({"home.stop": "crtl+x"}, "'home.stop': no key is called 'crtl+x'"),
        ({"home.stop": "f5,nonsense"}, "no key is called 'nonsense'"),
        ({"home.stop": 3}, "'home.stop': a key or a list of keys is expected"),
        ({"home.stop": []}, "a key or a list of keys is expected"),
        ({"home.open": "x"}, "'home.open' has no key of its own"),
        ({"app.leave": "x"}, "'app.leave' keeps its key"),
        ({"home.stop": "c"}, "'home.stop': c is the key of 'home.chat' (Chat) in the same place"),
        ({"home.stop": "j"}, "'home.stop': j is the key of 'list.down'"),
        ({"home.stop": "q"}, "'home.stop': q is the key of 'app.quit'"),
        ({"app.theme": "s"}, "'app.theme': s is the key of 'home.stop'"),
        ({"home.stop": "x", "home.copy": "x"}, "'home.stop': x is the key of 'home.copy'"),
    ],
)
def test_what_cannot_be_followed_is_told_and_left_out(table: dict[str, Any], problem: str) -> None:
    keymap = Keymap(table)
    assert problem in keymap.problems[0]
    assert keymap.changed == {}


def test_keys_may_be_swapped_and_used_again_elsewhere() -> None:
    keymap = Keymap({"home": {"stop": "p", "push": "s"}, "dialog.copy": "q", "run.kill": "i"})
    assert keymap.problems == []
    assert keymap.for_textual() == {"home.stop": "p", "home.push": "s", "dialog.copy": "q", "run.kill": "i"}


def test_ascii_has_no_arrows() -> None:
    assert all(Keymap(ascii=True).labels(action).isascii() for action in ACTIONS)


KEYS = """
[keys]
home.stop = "p"
home.push = "s"
"app.quit" = "X"
"app.help" = ["F2", "ctrl+g"]
"""


async def test_remapped_keys_work_and_are_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pressed: list[str] = []
    monkeypatch.setattr(HomeScreen, "do_stop", lambda self: pressed.append("stop"))
    monkeypatch.setattr(HomeScreen, "do_push", lambda self: pressed.append("push"))
    monkeypatch.setattr(HomeScreen, "why_not", lambda self, name: "")
    config_file().write_text(KEYS)
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home", keys=load_settings().keys) as pilot:
        await until_painted(pilot, "good", "F2 Help  X Quit", "p Stop", "s Push")
        await pilot.press("p", "s", "q", "question_mark")
        assert pressed == ["stop", "push"]
        assert isinstance(pilot.app.screen, HomeScreen) and pilot.app.return_value is None
        palette = {command.title: command.help for command in pilot.app.get_system_commands(pilot.app.screen)}
        assert palette["Home: Stop"].endswith("(p)") and palette["Help"].endswith("(F2 ctrl+g)")
        await pilot.press("slash", "X", "p")
        assert isinstance(pilot.app.focused, Input) and pilot.app.focused.value == "Xp"
        await pilot.press("escape", "ctrl+g")
        assert "  X                 Leave FineTUI" in pilot.app.screen.text_to_copy()  # type: ignore[attr-defined]
        await pilot.press("escape", "X")
        await until(pilot, lambda: pilot.app.return_value == 0, what="leaving")


async def test_a_wrong_table_is_told_when_the_screen_opens(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", keys={"home.stpo": "x"}, theme="finetui-drak") as pilot:
        await until_painted(pilot, "there is no action 'home.stpo'", "there is no theme 'finetui-drak'")
        logged = (tmp_path / "home" / "finetui.log").read_text()
        assert "there is no action 'home.stpo'" in logged and "config.toml" in logged
        await pilot.press("escape")
        await until_painted(pilot, "Nothing has run yet")
