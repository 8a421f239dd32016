"""Declared options (`core.options`) as command-line flags."""

from __future__ import annotations

from typing import Any

import click

from ..core.options import Option, describe
from ..core.tomltext import read_value

_TYPES: dict[str, Any] = {"int": click.INT, "float": click.FLOAT}


class TomlValue(click.ParamType):
    """A flag's value in TOML notation, for lists and options that take several types."""

    name = "value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        return read_value(value) if isinstance(value, str) else value


def flags_of(options_type: type) -> list[click.Parameter]:
    """All options of a declared type as flags, in order."""
    return [flag(row) for row in describe(options_type)]


def flag(row: Option) -> click.Option:
    """An option as a command-line flag; left out, it is not passed on, so that defaults live in one place."""
    words = f"{row.help} [default: {_default(row.default)}]"
    name = row.name.replace(".", "_")
    if row.kind == "bool":
        made = click.Option([f"{row.flag}/--no-{row.flag[2:]}", name], default=None, help=words)
    elif row.kind == "choice":
        made = click.Option([row.flag, name], type=click.Choice(row.choices), default=None, help=words)
    else:
        made = click.Option([row.flag, name], type=_TYPES.get(row.kind, TomlValue()), default=None, metavar=row.kind.upper(), help=words)
    made.name = row.name  # click declares identifiers only; options of parts are `part.key`
    return made


def _default(value: Any) -> str:
    if value is None or value in ([], {}, ""):
        return "none"
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)
