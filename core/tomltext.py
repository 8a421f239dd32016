"""Values of options as text: what ``--set`` reads, the same value written so that it is read back, and files for ``-c``."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from typing import Any

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_BARE_WORD = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")


def read_value(text: str) -> Any:
    """A ``--set`` value: TOML where it parses (``16``, ``true``, ``["q_proj"]``), else the text itself; ``none`` is null."""
    if text in ("none", "None", "null"):
        return None
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def write_value(value: Any) -> str:
    """``value`` in one line, so that `read_value` gives it back; a word that cannot be mistaken goes without quotation marks."""
    if value is None:
        return "none"
    if isinstance(value, str) and _BARE_WORD.fullmatch(value) and read_value(value) == value:
        return value
    return _inline(value)


def write_file(values: Mapping[str, Any]) -> str:
    """A TOML file, as ``-c`` takes it. TOML has no null: a value that is none is left out."""
    import tomli_w

    return tomli_w.dumps(_without_nulls(values))


def _inline(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f"{_key(str(key))} = {_inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_inline, value)) + "]"
    return write_file({"value": value}).removeprefix("value = ").rstrip("\n")


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _inline(name)


def _without_nulls(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_nulls(value) if isinstance(value, Mapping) else value for key, value in values.items() if value is not None
    }  # fmt: skip
