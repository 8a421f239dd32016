"""Every action is bound, explained, listed in the help and in the palette, and has someone who does it."""

from __future__ import annotations

from pathlib import Path

import pytest
from finetui.tui.actions import ACTIONS, SCOPE_TITLES, Action, by_id, of_scope
from finetui.tui.app import FineTuiApp
from finetui.tui.screens.catalog import CatalogScreen
from finetui.tui.screens.chat import ChatScreen
from finetui.tui.screens.compare import CompareScreen
from finetui.tui.screens.doctor import DoctorScreen
from finetui.tui.screens.home import HomeScreen
from finetui.tui.screens.log import LogScreen
from finetui.tui.screens.messages import Dialog, PickDialog
from finetui.tui.screens.methods import MethodsScreen
from finetui.tui.screens.new_run import NewRunScreen
from finetui.tui.screens.preview import PreviewScreen
from finetui.tui.screens.run import RunScreen
from finetui.tui.screens.settings import SettingsScreen
from finetui.tui.screens.words import WordsDialog
from finetui.tui.widgets.form import Form
from finetui.tui.widgets.lists import Lines
from finetui.tui.widgets.loglines import LogLines
from finetui.tui.widgets.plot import Plot
from support.tui import opened, painted, type_text, until_painted
from textual.binding import Binding

OWNERS = {
    "app": FineTuiApp, "home": HomeScreen, "catalog": CatalogScreen, "new": NewRunScreen, "run": RunScreen, "chat": ChatScreen,
    "compare": CompareScreen, "doctor": DoctorScreen, "log": LogScreen, "settings": SettingsScreen,
    "methods": MethodsScreen, "preview": PreviewScreen, "words": WordsDialog,
    "list": Lines, "plot": Plot, "runlog": LogLines, "form": Form, "dialog": Dialog, "pick": PickDialog,
}  # fmt: skip


def test_ids_are_unique_and_every_scope_has_an_owner() -> None:
    assert len({action.id for action in ACTIONS}) == len(ACTIONS)
    assert {action.scope for action in ACTIONS} == set(SCOPE_TITLES) == set(OWNERS)


@pytest.mark.parametrize("scope", list(OWNERS))
def test_every_binding_has_an_id_a_tooltip_and_a_method(scope: str) -> None:
    ids = set()
    for binding in OWNERS[scope].BINDINGS:
        assert isinstance(binding, Binding)
        assert binding.id and binding.tooltip and binding.description
        assert callable(getattr(OWNERS[scope], f"do_{by_id(binding.id).name}"))
        ids.add(binding.id)
    assert ids == {action.id for action in of_scope(scope) if action.keys}


@pytest.mark.parametrize("scope", list(OWNERS))
def test_no_key_means_two_things_in_one_place(scope: str) -> None:
    keys = [key for action in of_scope(scope) for key in action.keys.split(",") if key]
    assert len(keys) == len(set(keys))


def test_only_actions_without_a_key_are_those_that_lists_do_by_enter() -> None:
    assert [action.id for action in ACTIONS if not action.keys] == ["home.open", "compare.open"]


async def test_help_lists_every_action_with_its_keys(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (100, 40)) as pilot:
        await pilot.press("question_mark")
        await until_painted(pilot, "Keys")
        text = pilot.app.screen.text_to_copy()  # type: ignore[attr-defined]
        for action in ACTIONS:
            assert action.tooltip in text, action.id
            assert pilot.app.keymap.labels(action) in text  # type: ignore[attr-defined]
        assert (
            text.index("Lists and texts (in focus)") < text.index("Home (in focus)") < text.index("Everywhere") < text.index("\nCatalog\n")
        )
        await pilot.press("escape")
        assert "Keys" not in painted(pilot.app)  # type: ignore[arg-type]


async def test_palette_has_every_action_and_does_them(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (120, 40)) as pilot:
        commands = list(pilot.app.get_system_commands(pilot.app.screen))
        assert len(commands) == len(ACTIONS)
        for action in ACTIONS:
            (command,) = [command for command in commands if f"{action.tooltip} (" in command.help and _titled(action) == command.title]
            assert command.help.endswith(f"({pilot.app.keymap.labels(action)})")  # type: ignore[attr-defined]
        await pilot.press("colon")
        await type_text(pilot, "catalog pull")
        await until_painted(pilot, "Catalog: Pull")
        await pilot.press("enter")
        await until_painted(pilot, "Pull an adapter", "repository")


async def test_palette_says_why_an_action_cannot_be_done_now(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (120, 40)) as pilot:
        said = {command.title: command.help for command in pilot.app.get_system_commands(pilot.app.screen)}
        assert said["Home: Stop"].startswith("Not now: no run is selected. Stop the selected run")
        assert said["Run: Checkpoint"].startswith("Not now: Run is not open or not in focus.")
        assert "Not now" not in said["Home: New run"] + said["Catalog: Pull"] + said["Theme"]
        titles = list(said)
        assert titles.index("Home: New run") < titles.index("Home: Stop")


def _titled(action: Action) -> str:
    return action.title if action.scope == "app" else f"{SCOPE_TITLES[action.scope]}: {action.title}"


async def test_footer_begins_with_help_and_quit(tmp_path: Path) -> None:
    for size in ((60, 20), (80, 24), (120, 40)):
        async with opened(tmp_path / "home", size) as pilot:
            for key in ("1", "2", "4", "5", "8", "9"):
                await pilot.press(key)
                await pilot.pause(0.2)
                assert painted(pilot.app).splitlines()[-1].startswith(" ? Help  q Quit")  # type: ignore[arg-type]


async def test_a_disabled_key_says_why(tmp_path: Path) -> None:
    async with opened(tmp_path / "home", (100, 30)) as pilot:
        await pilot.press("p")
        await until_painted(pilot, "no run is selected")
