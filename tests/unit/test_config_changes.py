"""Changing one setting in the file: the line changes, comments stay, and what is not allowed is not written."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
from finetui.core.config import Settings, from_environment, load_settings
from finetui.core.configfile import save_setting
from finetui.core.errors import UsageError
from finetui.core.paths import config_file

FILE = """# mine
theme = "finetui-light"  # in the sun

[notify]
# nothing rings at night
bell = false

[keys]
"home.stop" = "x"
"""


def test_a_file_is_made_with_its_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("FINETUI_CONFIG", str(tmp_path / "a" / "b" / "config.toml"))
    assert save_setting("theme", "finetui-light").theme == "finetui-light"
    assert config_file().read_text() == 'theme = "finetui-light"\n'


@pytest.mark.parametrize(
    ("name", "value", "old", "new"),
    [
        ("theme", "finetui-16", 'theme = "finetui-light"  # in the sun', 'theme = "finetui-16"'),
        ("theme", "finetui-dark", 'theme = "finetui-light"  # in the sun\n', ""),
        ("ascii", True, "# in the sun\n", "# in the sun\nascii = true\n"),
        ("notify.bell", True, "bell = false\n", ""),
        ("notify.on", "failure", "bell = false\n", 'bell = false\non = "failure"\n'),
        ("keys", {"app.quit": "Q"}, '"home.stop" = "x"', '"app.quit" = "Q"'),
        ("keys", {}, '[keys]\n"home.stop" = "x"\n', ""),
    ],
)
def test_only_the_line_of_the_setting_changes(name: str, value: object, old: str, new: str) -> None:
    config_file().write_text(FILE)
    saved = save_setting(name, value)
    text = config_file().read_text()
    assert text == FILE.replace(old, new)
    assert load_settings() == saved


@pytest.mark.parametrize(
    "text", ["notify = { bell = false, desktop = false }\n", "notify.bell = false\nnotify.desktop = false\n", "[notify]\ndesktop = false\n"]
)
def test_tables_written_otherwise_keep_their_other_values(text: str) -> None:
    config_file().write_text(text)
    save_setting("notify.bell", True)
    assert tomllib.loads(config_file().read_text()) == {"notify": {"desktop": False}}
    assert save_setting("notify.desktop", True) == Settings()
    assert not tomllib.loads(config_file().read_text()).get("notify")


def test_lists_over_several_lines_are_replaced() -> None:
    config_file().write_text('[notify]\ncommand = [\n  "a",\n  "b",\n]\n')
    assert save_setting("notify.command", ["c"]).notify.command == ["c"]
    assert load_settings().notify.command == ["c"]


@pytest.mark.parametrize(("name", "value"), [("notify.timeout", 0.1), ("theme", 3), ("notify.webhook", "hooks.example.org")])
def test_what_is_not_allowed_is_not_written(name: str, value: object) -> None:
    config_file().write_text(FILE)
    with pytest.raises(UsageError):
        save_setting(name, value)
    assert config_file().read_text() == FILE


def test_what_the_environment_says_counts_for_more() -> None:
    found = from_environment({"FINETUI_HOME": "/x", "NO_COLOR": "1", "TERM": "linux"})
    assert set(found) == {"home", "theme", "ascii"} and "/x" in found["home"]
    assert from_environment({"TERM": "screen", "NO_COLOR": ""}) == {}
