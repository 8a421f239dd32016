"""An option is declared once and becomes a command-line flag, a form field and a JSON Schema entry.

Options are the fields of an ordinary frozen dataclass::

    @dataclass(frozen=True)
    class LoraOptions:
        r: int = option(16, "Rank of the update matrices.", minimum=1)

so a plugin reads them typed (``options.r``), while the screen and the command line read `describe(LoraOptions)`.

Options of a method that is composed of parts are nested: a field made with `part` holds the options of one part, and each of
them is known to the outside as ``part.key``::

    @dataclass(frozen=True)
    class MamOptions:
        prefix: PrefixOptions = part(PrefixOptions(num_virtual_tokens=30))

    parse(MamOptions, {"prefix.num_virtual_tokens": 10}).prefix.num_virtual_tokens
"""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from operator import attrgetter
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec

from .errors import UsageError, closest

_KEY = "finetui"
_PART = "finetui.part"


def option(
    default: Any,
    help: str,
    *,
    minimum: float | None = None,
    maximum: float | None = None,
    group: str = "",
    advanced: bool = False,
    unit: str = "",
    also: Mapping[str, Mapping[Any, Any]] | None = None,
) -> Any:
    """Declare one option as a dataclass field.

    Args:
        default: the value used when the user says nothing; lists and dicts are copied per instance.
        help: one sentence, shown by ``--help``, the form and the JSON Schema.
        minimum: smallest value allowed (numbers only, inclusive).
        maximum: largest value allowed (numbers only, inclusive).
        group: heading under which the form shows the option.
        advanced: hidden behind "more" in the form.
        unit: shown after the value, for example ``tokens``.
        also: other names that libraries have for it: name → its value → the value here.
    """
    metadata = {
        _KEY: {
            "help": help, "minimum": minimum, "maximum": maximum, "group": group, "advanced": advanced, "unit": unit, "also": also or {},
        }
    }  # fmt: skip
    if isinstance(default, (list, dict)):
        return dataclasses.field(default_factory=lambda: type(default)(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def part(default: Any) -> Any:
    """Declare the options of one part of a composed method as a dataclass field.

    Args:
        default: an instance of the part's (frozen) options; its values are the defaults.
    """
    return dataclasses.field(default=default, metadata={_PART: True})


@dataclass(frozen=True, slots=True)
class Option:
    """What is known of one option without an instance: the row of a form, the flag of a command.

    Attributes:
        name: field name, spelt as in TrainingArguments or PEFT's configs; ``part.key`` inside a part.
        kind: ``int``, ``float``, ``bool``, ``str``, ``list``, ``dict`` or ``choice``.
        type_name: for people, for example ``int | none`` or ``'nf4' | 'fp4'``.
        default: JSON-compatible default.
        choices: allowed values; empty where any value of the type will do.
        optional: whether ``none`` is allowed.
        also: see `option`.
    """

    name: str
    kind: str
    type_name: str
    default: Any
    help: str
    choices: tuple[str, ...] = ()
    optional: bool = False
    minimum: float | None = None
    maximum: float | None = None
    group: str = ""
    advanced: bool = False
    unit: str = ""
    also: Mapping[str, Mapping[Any, Any]] = dataclasses.field(default_factory=dict)

    @property
    def flag(self) -> str:
        """The command-line flag, ``lora_alpha`` → ``--lora-alpha``, ``lora.r`` → ``--lora.r``."""
        return "--" + self.name.replace("_", "-")


def _members(hint: Any) -> tuple[Any, ...]:
    return get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)


def _kind(hint: Any) -> tuple[str, tuple[str, ...]]:
    """The kind and the choices of a type hint, ``None`` left out."""
    choices: list[str] = []
    kinds: list[str] = []
    for member in _members(hint):
        if member is type(None):
            continue
        origin = get_origin(member)
        if origin is Literal:
            choices += [str(value) for value in get_args(member)]
            kinds.append("choice")
        else:
            kinds.append((origin or member).__name__)
    if set(kinds) == {"choice"}:
        return "choice", tuple(choices)
    plain = [kind for kind in kinds if kind != "choice"]
    return (plain[0] if len(plain) == 1 else "str"), tuple(choices)


def _type_name(hint: Any) -> str:
    names = []
    for member in _members(hint):
        if member is type(None):
            names.append("none")
        elif get_origin(member) is Literal:
            names += [repr(value) for value in get_args(member)]
        elif get_args(member):
            names.append(str(member).replace("typing.", ""))
        else:
            names.append(member.__name__)
    return " | ".join(names)


@cache
def describe(options_type: type) -> tuple[Option, ...]:
    """The options that a dataclass declares, in order, those of its parts too; other fields are left out."""
    hints = get_type_hints(options_type)
    rows: list[Option] = []
    for field in dataclasses.fields(options_type):
        meta = field.metadata.get(_KEY)
        if _PART in field.metadata:
            rows += _part_rows(field)
        elif meta is not None:
            hint = hints[field.name]
            kind, choices = _kind(hint)
            default = field.default_factory() if field.default is dataclasses.MISSING else field.default  # type: ignore[misc]
            rows.append(
                Option(
                    name=field.name, kind=kind, type_name=_type_name(hint), default=default, choices=choices,
                    optional=type(None) in _members(hint), **meta,
                )
            )  # fmt: skip
    return tuple(rows)


def _part_rows(field: dataclasses.Field[Any]) -> list[Option]:
    """A part's options under their outside names; without a group of their own they stand under the part's name."""
    return [
        dataclasses.replace(
            row, name=f"{field.name}.{row.name}", default=getattr(field.default, row.name), group=row.group or field.name.capitalize()
        )
        for row in describe(type(field.default))
    ]


def value_of(options: Any, name: str) -> Any:
    """The value of the option ``name`` (``part.key`` inside a part) of an options instance."""
    return attrgetter(name)(options)


def flattened(values: Mapping[str, Any], known: Iterable[str]) -> dict[str, Any]:
    """``values`` with tables of parts spread out: TOML reads ``lora.r = 8`` as a table ``lora``."""
    parts = {name.partition(".")[0] for name in known if "." in name}
    flat: dict[str, Any] = {}
    for key, value in values.items():
        if key in parts and isinstance(value, Mapping):
            flat |= {f"{key}.{inner}": item for inner, item in value.items()}
        else:
            flat[key] = value
    return flat


def parse(options_type: type, values: Mapping[str, Any], *, owner: str = "") -> Any:
    """Check ``values`` against the declarations and return an instance of ``options_type``.

    Args:
        values: option name to value; values have their TOML/JSON types already.
        owner: named in the error, for example ``method 'lora'``.

    Raises:
        UsageError: an unknown name (the closest ones suggested), a wrong type, a value out of range.
    """
    of = f" of {owner}" if owner else ""
    values = respelt(options_type, values)
    known = {row.name: row for row in describe(options_type)}
    for name in values:
        if name not in known:
            raise UsageError(f"unknown option '{name}'{of}", closest(name, known, "option"))
    try:
        parsed = msgspec.convert(_nested(options_type, values), options_type)
    except msgspec.ValidationError as problem:
        raise UsageError(f"option{of}: {problem}", _expected(str(problem), known)) from None
    for name in values:
        _check_range(known[name], value_of(parsed, name), of)
    return parsed


def respelt(options_type: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` with other libraries' names of options (`option`'s ``also``) replaced by ours.

    Raises:
        UsageError: both names of an option are given, or the value is not one that the other name has.
    """
    others = {name: (row.name, meanings) for row in describe(options_type) for name, meanings in row.also.items()}
    result = {name: value for name, value in values.items() if name not in others}
    for name in values.keys() & others.keys():
        ours, meanings = others[name]
        if ours in result:
            raise UsageError(f"{name} and {ours} are both given", f"give {ours} only")
        if not isinstance(values[name], tuple(map(type, meanings))) or values[name] not in meanings:
            raise UsageError(
                f"option '{name}' is {values[name]!r}", f"it is one of {', '.join(map(str, meanings)).lower()}; or give {ours}"
            )
        result[ours] = meanings[values[name]]
    return result


def _nested(options_type: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """``values`` as msgspec reads them: each part's in a mapping of their own, over the part's defaults."""
    nested: dict[str, Any] = {name: value for name, value in values.items() if "." not in name}
    for field in dataclasses.fields(options_type):
        if _PART in field.metadata:
            prefix = f"{field.name}."
            own = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
            nested[field.name] = {**to_dict(field.default), **own}
    return nested


def _expected(problem: str, known: Mapping[str, Option]) -> str:
    for row in known.values():
        if f"$.{row.name}`" in problem or f"$.{row.name}[" in problem:
            return f"{row.name} is {row.type_name}: {row.help}"
    return ""


def _check_range(row: Option, value: Any, of: str) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return
    if not math.isfinite(value):
        raise UsageError(f"option '{row.name}'{of} is not a finite number", row.help)
    if row.minimum is not None and value < row.minimum:
        raise UsageError(f"option '{row.name}'{of} is {value}, below its minimum {row.minimum:g}", row.help)
    if row.maximum is not None and value > row.maximum:
        raise UsageError(f"option '{row.name}'{of} is {value}, above its maximum {row.maximum:g}", row.help)


def to_dict(options: Any, *, changed_only: bool = False) -> dict[str, Any]:
    """The JSON-compatible values of an options instance; with ``changed_only`` those that differ from the defaults."""
    rows = describe(type(options))
    values = {row.name: value_of(options, row.name) for row in rows}
    if changed_only:
        return {row.name: values[row.name] for row in rows if values[row.name] != row.default}
    return values


def json_schema(options_type: type) -> dict[str, Any]:
    """A JSON Schema (2020-12) object of the options, with help, defaults and ranges; options of parts are ``part.key``."""
    body: dict[str, Any] = {"title": options_type.__name__, "type": "object", "properties": {}, "required": []}
    entries = _schema_entries(options_type)
    for row in describe(options_type):
        entry = {**entries[row.name], "default": row.default, "description": row.help}
        if row.minimum is not None:
            entry["minimum"] = row.minimum
        if row.maximum is not None:
            entry["maximum"] = row.maximum
        body["properties"][row.name] = entry
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **body}


def _schema_entries(options_type: type) -> dict[str, Any]:
    """msgspec's schema of every option by its outside name."""
    schema = msgspec.json.schema(options_type)
    entries = dict(schema["$defs"][options_type.__name__]["properties"])
    for field in dataclasses.fields(options_type):
        if _PART in field.metadata:
            del entries[field.name]
            entries |= {f"{field.name}.{name}": entry for name, entry in _schema_entries(type(field.default)).items()}
    return entries
