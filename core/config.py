"""The user's settings: one TOML file, declared once as options, so that a screen can be generated from them."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from .errors import UsageError, closest
from .options import describe, flattened, option, parse, part
from .paths import config_file


@dataclass(frozen=True)
class NotifySettings:
    """Who is told that a run has ended (the table ``[notify]``)."""

    bell: bool = option(True, "Ring the terminal's bell and set its title, where a run is followed and on the screen.")
    desktop: bool = option(True, "Ask that terminal for a desktop notification (OSC 9).")
    on: Literal["end", "failure"] = option("end", "When command and webhook are used: at every end, or when a run failed or was lost.")
    command: list[str] = option([], "Program and arguments to start; it gets the run's facts as FINETUI_… variables and JSON.")
    webhook: str = option("", "Address (http or https) that the run's facts are posted to as JSON.")
    timeout: float = option(20.0, "Time that command and webhook are given.", minimum=1.0, unit="seconds")


@dataclass(frozen=True)
class Settings:
    """Everything that can be configured. Command-line flags override it."""

    theme: str = option(
        "finetui-dark", "Colour theme of the screen: finetui-dark, -light, -contrast, -16, or one of Textual's.", group="Screen"
    )
    ascii: bool = option(False, "Draw with ASCII characters only.", group="Screen")
    keys: dict[str, Any] = option({}, 'Other keys for actions of the screen: home.stop = "x", app.help = ["F1", "ctrl+g"].', group="Screen")
    home: str = option("", "Where runs and adapters are kept; empty means the platform's data directory.", group="Files")
    folder_hub: str = option("", "Directory of the folder hub; empty means <home>/hub.", group="Hub")
    data_cache_gb: float = option(
        20.0, "Tokenised data kept for later runs; what was used least recently goes first.", minimum=0.0, group="Files", unit="GB"
    )
    data_cache_days: float = option(
        30.0, "Tokenised data that no run used for so long is removed.", minimum=0.0, group="Files", unit="days"
    )
    default_hub: str = option("huggingface", "Where push and pull go unless --hub says otherwise.", group="Hub")
    gpus: str = option("auto", "GPUs to use unless --gpus says otherwise: auto, none, or indices.", group="Devices")
    share_gpu: bool = option(False, "Use GPUs beside others that share them, unless --no-share-gpu says otherwise.", group="Devices")
    notify: NotifySettings = part(NotifySettings())
    log_level: Literal["debug", "info", "warning"] = option("info", "How much the app writes to its log.", group="Files")


AT_NEXT_START = ("ascii", "home", "log_level")
"""Settings that an open screen does not take up; all others take effect at once."""


def from_environment(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Settings that the environment has the last word on: name → what it says."""
    found = {}
    if environment.get("FINETUI_HOME"):
        found["home"] = f"FINETUI_HOME={environment['FINETUI_HOME']} is used instead"
    if environment.get("NO_COLOR"):
        found["theme"] = "NO_COLOR is set: drawn in greys"
    if environment.get("TERM") == "linux":
        found["ascii"] = "TERM=linux has ASCII only"
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file.

    Raises:
        UsageError: absent, not readable or not TOML; the message names file and line.
    """
    try:
        with open(path, "rb") as file:
            return tomllib.load(file)
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file", "check the path after -c") from None
    except OSError as problem:
        raise UsageError(f"{path}: {problem.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as problem:
        raise UsageError(f"{path}: {problem}", "the file must be TOML, see https://toml.io") from None


def load_settings(path: Path | None = None) -> Settings:
    """The settings of ``path`` (default: `paths.config_file`); defaults where the file does not exist.

    Raises:
        UsageError: malformed TOML, an unknown setting (closest names suggested), a wrong type, an address that is none.
    """
    path = path or config_file()
    return check_settings(read_toml(path), path) if path.exists() else Settings()


def check_settings(values: Mapping[str, Any], path: Path) -> Settings:
    """The settings that ``values``, read from ``path``, stand for.

    Raises:
        UsageError: see `load_settings`.
    """
    known = [row.name for row in describe(Settings)]
    values = flattened(values, known)
    for name in values:
        if name not in known:
            raise UsageError(f"{_place(path, name)}: unknown setting '{name}'", closest(name, known, "setting"))
    settings: Settings = parse(Settings, values, owner=str(path))
    if settings.notify.webhook and not webhook_host(settings.notify.webhook):
        raise UsageError(
            f"{_place(path, 'notify.webhook')}: webhook is no http:// or https:// address of a server",
            "give the whole address, for example https://hooks.example.org/…, without blanks and without user@",
        )
    return settings


def webhook_host(address: str) -> str:
    """Host of an address that can be posted to; empty for anything else."""
    from urllib.parse import urlsplit

    if not address.isprintable() or not address.isascii() or " " in address:
        return ""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.port != 0 and parts.username is None
    except ValueError:
        return ""
    return parts.hostname or "" if usable else ""


def _place(path: Path, setting: str) -> str:
    """``path:line`` of a setting such as ``notify.webhook``; the path alone where its line cannot be told."""
    table, spelt = "", {setting, setting.rpartition(".")[0] or setting}  # its table may be written in one line: notify = { … }
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    for number, line in enumerate(text.splitlines(), 1):
        if header := re.match(r"\s*\[\s*([\w.-]+)\s*\]", line):
            table = header[1] + "."
        elif (key := re.match(r"\s*([\w.-]+)\s*=", line)) and table + key[1] in spelt:
            return f"{path}:{number}"
    return str(path)
