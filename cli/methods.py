"""``finetui methods``: which ways to fine-tune there are."""

from __future__ import annotations

from typing import Any

import click

from ..core import registry
from ..core.api import Method
from ..core.matrix import rows_of
from ..core.options import describe, json_schema
from .command import App, group, subcommand
from .output import details, table, write_json


@group()
def methods() -> None:
    """Fine-tuning methods and their options."""


def _summary(method: Method) -> dict[str, Any]:
    return {
        "name": method.name,
        "title": method.title,
        "summary": method.summary,
        "good_for": method.good_for,
        "reference": method.reference,
        "tasks": list(method.tasks),
        "artifact": method.artifact,
        "merges": method.merges,
        "swaps": method.swaps,
        "learning_rate": method.learning_rate,
    }


@subcommand(methods, "list")
def list_methods(app: App) -> None:
    """Every installed method, third parties' and those of families (``peft:*``) included."""
    rows = [_summary(method) for method in registry.load_all("methods").values()]
    rows += [_summary(registry.load("methods", name)) for name in registry.members("methods")]
    if app.json:
        return write_json(rows)
    columns = [
        ("name", "name"),
        ("summary", "what it does"),
        ("good_for", "good choice"),
        ("tasks", "tasks"),
        ("merges", "merges"),
        ("swaps", "swaps"),
    ]
    table(rows, columns, empty="no methods are installed: finetui plugins list")


@subcommand(methods, "show")
@click.argument("name")
@click.option("--schema", is_flag=True, help="Print the options as JSON Schema.")
def show(app: App, name: str, schema: bool) -> None:
    """A method's options with types, defaults and meaning."""
    method: Method = registry.load("methods", name)
    if schema:
        return write_json(json_schema(method.options))
    options = describe(method.options)
    if app.json:
        return write_json({**_summary(method), "options": [option_row(row) for row in options], "matrix": rows_of(name)})
    details(_summary(method))
    print()
    table([option_row(row) for row in options], OPTION_COLUMNS, empty="this method has no options")
    found = rows_of(name)
    if found:
        print()
        tasks = [key for key in found[0] if key not in ("architecture", "models")]
        table(found, [("models", "architecture"), *((task, task) for task in tasks)], empty="")


OPTION_COLUMNS = [("name", "option"), ("type", "type"), ("default", "default"), ("help", "meaning")]


def option_row(row: Any) -> dict[str, Any]:
    """An `Option` as ``methods show --json`` gives it."""
    return {
        "name": row.name,
        "type": row.type_name,
        "default": row.default,
        "choices": list(row.choices),
        "minimum": row.minimum,
        "maximum": row.maximum,
        "help": row.help,
        "group": row.group,
        "advanced": row.advanced,
    }
