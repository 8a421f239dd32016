"""The rows of a form, and how what is typed becomes a value. No Textual here."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ...core.errors import UsageError
from ...core.options import Option, describe, parse

NONE_WORDS = {"", "none", "auto"}


@dataclass
class Field:
    """One row of a form.

    Attributes:
        key: unique in the form; for an option ``owner.name``.
        integers: of a list: its members are whole numbers.
        kind: an option's kind (`core.options.Option.kind`), or ``pick`` (the owner opens a chooser) or ``button``.
        note: said after the value in grey.
        error: why the value cannot be used; empty when it can.
        check: returns the error of a value, or an empty string.
    """

    key: str
    label: str
    kind: str
    value: Any = None
    default: Any = None
    help: str = ""
    group: str = ""
    choices: tuple[str, ...] = ()
    optional: bool = False
    advanced: bool = False
    unit: str = ""
    type_name: str = ""
    integers: bool = False
    note: str = ""
    error: str = ""
    check: Callable[[Any], str] | None = None

    @property
    def changed(self) -> bool:
        """Whether the value differs from the default."""
        return self.kind not in ("pick", "button") and self.value != self.default

    def shown(self) -> str:
        """The value as the form shows it."""
        return show_value(self.value)

    def set(self, value: Any) -> None:
        """Take a value and check it."""
        self.value = value
        self.error = self.check(value) if self.check else ""

    def try_text(self, text: str) -> str:
        """The error of a typed text, without taking it; empty when it would be taken."""
        try:
            value = self.read(text)
        except ValueError as problem:
            return str(problem)
        return self.check(value) if self.check else ""

    def read(self, text: str) -> Any:
        """The value that a typed text stands for.

        Raises:
            ValueError: it cannot be read as this kind; the message says what would be.
        """
        return read_value(self, text)


def show_value(value: Any) -> str:
    """A value in the words of the form: ``on``, ``auto`` for none, lists with commas."""
    if value is None:
        return "auto"
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return ", ".join(str(item) for item in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={show_value(item)}" for key, item in value.items())
    return str(value)


def read_value(field: Field, text: str) -> Any:
    """See `Field.read`."""
    text = text.strip()
    if field.optional and text.lower() in NONE_WORDS:
        return None
    if text in field.choices:
        return text
    if field.kind == "bool":
        if text.lower() not in ("on", "off", "true", "false", "yes", "no"):
            raise ValueError("on or off")
        return text.lower() in ("on", "true", "yes")
    if field.kind == "int":
        return _number(text, int, "a whole number is expected")
    if field.kind == "float":
        return _number(text, float, "a number is expected, for example 2e-4")
    if field.kind == "list":
        parts = [part.strip() for part in text.split(",") if part.strip()]
        return [_number(part, int, "whole numbers are expected, separated by commas") for part in parts] if field.integers else parts
    if field.kind == "dict":
        return _table(text)
    return text


def _number(text: str, kind: type, message: str) -> Any:
    try:
        return kind(text.replace("_", ""))
    except ValueError:
        raise ValueError(message) from None


def _table(text: str) -> dict[str, Any]:
    """``a=1, b="x"`` as a TOML inline table; bare words are taken as strings."""
    if not text:
        return {}
    try:
        return tomllib.loads(f"table = {{ {text} }}")["table"]
    except tomllib.TOMLDecodeError:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        if not all(sign for _, sign, _ in pairs):
            raise ValueError("name=value pairs are expected, separated by commas") from None
        return {name.strip(): value.strip() for name, _, value in pairs}


def option_fields(options_type: type, values: Mapping[str, Any], owner: str, heading: str = "") -> list[Field]:
    """Form rows of a declared options type; the check is the declaration's own.

    Args:
        values: those that differ from the defaults.
        owner: prefix of the keys.
        heading: group of options that name none.
    """
    return [_option_field(options_type, row, values.get(row.name, row.default), owner, heading) for row in describe(options_type)]


def _option_field(options_type: type, row: Option, value: Any, owner: str, heading: str) -> Field:
    def check(value: Any) -> str:
        try:
            parse(options_type, {row.name: value})
        except UsageError as problem:
            return problem.message.removeprefix("option: ").removeprefix(f"option '{row.name}' ")
        return ""

    field = Field(
        key=f"{owner}.{row.name}", label=row.name, kind=row.kind, default=row.default, help=row.help, group=row.group or heading,
        choices=row.choices, optional=row.optional, advanced=row.advanced, unit=row.unit, type_name=_range(row), check=check,
        integers="list[int]" in row.type_name,
    )  # fmt: skip
    field.set(value)
    return field


def _range(row: Option) -> str:
    limits = []
    if row.minimum is not None:
        limits.append(f"from {row.minimum:g}")
    if row.maximum is not None:
        limits.append(f"to {row.maximum:g}")
    return " ".join([row.type_name, *limits])


def changed_values(fields: list[Field], owner: str) -> dict[str, Any]:
    """Name to value of the owner's options that differ from their defaults."""
    prefix = owner + "."
    return {field.key.removeprefix(prefix): field.value for field in fields if field.key.startswith(prefix) and field.changed}
