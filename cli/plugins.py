"""``finetui plugins``: what is installed, from which package, and what is broken and why."""

from __future__ import annotations

from ..core.registry import describe_all
from .command import App, group, subcommand
from .output import narrate, table, write_json


@group()
def plugins() -> None:
    """What is installed, and what is broken and why."""


@subcommand(plugins, "list")
def list_plugins(app: App) -> None:
    """Every plugin of every kind; a broken one with its error."""
    rows = [
        {"kind": row.kind, "name": row.name, "package": row.package, "target": row.target, "error": row.error or None}
        for row in describe_all()
    ]
    if app.json:
        return write_json(rows)
    table(rows, [("kind", "kind"), ("name", "name"), ("package", "package"), ("target", "target")], empty="no plugins")
    for row in rows:
        if row["error"]:
            narrate(f"broken: {row['error']}")
