"""The configuration file: defaults, values, and errors that name the file and the closest setting."""

from __future__ import annotations

from pathlib import Path

import pytest
from finetui.core.config import Settings, load_settings
from finetui.core.errors import UsageError
from finetui.core.paths import check_name, config_file, find_home


def test_absent_file_means_defaults() -> None:
    assert load_settings() == Settings()


def test_values_are_read() -> None:
    config_file().write_text('theme = "finetui-light"\nascii = true\n')
    assert load_settings().theme == "finetui-light"
    assert load_settings().ascii is True


@pytest.mark.parametrize(
    ("text", "message"),
    [("thme = 'x'", "unknown setting 'thme'"), ("theme = 3", "Expected `str`"), ("theme = \n", "line 1")],
)
def test_errors_name_the_file(text: str, message: str) -> None:
    config_file().write_text(text)
    with pytest.raises(UsageError) as caught:
        load_settings()
    assert message in caught.value.message
    assert str(config_file()) in caught.value.message


def test_home_comes_from_flag_then_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_HOME", str(tmp_path / "a"))
    assert find_home().root == tmp_path / "a"
    assert find_home(tmp_path / "b").root == tmp_path / "b"
    monkeypatch.delenv("FINETUI_HOME")
    assert find_home().root.name == "finetui"


@pytest.mark.parametrize("name", ["../x", "", ".hidden", "a/b", "-x", "a" * 97, "ü"])
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(UsageError):
        check_name(name)
