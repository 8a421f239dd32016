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


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("theme = 'x'\n\n[notify]\nbell = false\nwebhook = 'hooks.example.org'\n", 5),
        ("notify.webhook = 'ftp://h/x'\n", 1),
        ("ascii = true\nnotify = { bell = true, webhook = 'http://' }\n", 2),
        ("[ notify ]\nwebhook = 'https://h:x/'\n", 2),
        ("[notify]\nwebhook = 'https://user:word@h/'\n", 2),
        ("[notify]\nwebhook = 'https://h/a b'\n", 2),
        ('[notify]\nwebhook = "https://h/\\r\\nX: y"\n', 2),
    ],
)
def test_a_webhook_that_cannot_be_posted_to_is_refused_with_file_and_line(text: str, line: int) -> None:
    config_file().write_text(text)
    with pytest.raises(UsageError, match="webhook is no http:// or https:// address") as caught:
        load_settings()
    assert caught.value.message.startswith(f"{config_file()}:{line}: ") and "word" not in caught.value.message


@pytest.mark.parametrize("address", ["http://127.0.0.1:8000/x", "https://hooks.example.org/services/T/B?x=1", "http://[::1]/x"])
def test_a_webhook_is_read(address: str) -> None:
    config_file().write_text(f"[notify]\nwebhook = '{address}'\n")
    assert load_settings().notify.webhook == address


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
