"""``finetui adapters``: trained, imported and pulled adapters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ..core.catalog.entries import ADAPTER_SORTS, AdapterEntry, select_adapters
from .command import App, group, subcommand
from .confirm import confirmed
from .output import details, narrate, quantity, size, table, write_json

_COLUMNS = [
    ("name", "name"), ("method", "method"), ("rank", "rank>"), ("base", "base"), ("parameters", "parameters>"), ("size", "size>"),
    ("eval_loss", "eval loss>"), ("tags", "tags"), ("problem", "problem"),
]  # fmt: skip


@group()
def adapters() -> None:
    """Trained, imported and pulled adapters."""


def _readable(entry: AdapterEntry) -> dict[str, Any]:
    row = msgspec.to_builtins(entry)
    row |= {"parameters": quantity(entry.parameters), "size": size(entry.size_bytes), "eval_loss": entry.metrics.get("eval_loss")}
    row["base"] = f"{entry.base} (missing)" if entry.base_missing else entry.base
    return row


@subcommand(adapters, "list")
@click.option("--base", default="", help="Only those of this base.")
@click.option("--method", default="", help="Only those trained with this method.")
@click.option("--search", default="", help="Words in name, base, method or tags.")
@click.option("--sort", default="name", type=click.Choice(ADAPTER_SORTS), help="Order.")
def list_adapters(app: App, base: str, method: str, search: str, sort: str) -> None:
    """Own runs' results, imported PEFT folders and pulled adapters."""
    entries = select_adapters(app.catalog.adapters(), base=base, method=method, search=search, sort=sort)
    if app.json:
        return write_json(entries)
    table([_readable(entry) for entry in entries], _COLUMNS, empty="no adapters yet: finetui train, adapters import or pull")


@subcommand(adapters, "show")
@click.argument("name")
def show(app: App, name: str) -> None:
    """One adapter: what it is, how it was trained, its figures."""
    entry = app.catalog.adapter(name)
    if app.json:
        return write_json(entry)
    details(_readable(entry))


@subcommand(adapters, "import")
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--name", default="", help="Name in the catalog; default: the folder's.")
@click.option("--base", default="", help="The base model it belongs to, where its configuration does not say.")
def import_adapter(app: App, folder: Path, name: str, base: str) -> None:
    """Copy a PEFT folder into the catalog, after checking it."""
    entry = app.catalog.import_adapter(folder, name, base)
    if app.json:
        return write_json(entry)
    narrate(f"imported {entry.name}: {entry.method}, {quantity(entry.parameters)} parameters, base {entry.base}")


@subcommand(adapters, "remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(app: App, name: str, yes: bool) -> None:
    """Delete an adapter from the catalog."""
    entry = app.catalog.adapter(name)
    confirmed(app, f"delete the adapter {entry.name} ({size(entry.size_bytes)})?", yes)
    app.catalog.remove_adapter(name)
    if app.json:
        write_json({"removed": entry.name})
    else:
        narrate(f"removed {entry.name}")


@subcommand(adapters, "diff")
@click.argument("first")
@click.argument("second")
def diff(app: App, first: str, second: str) -> None:
    """Where two adapters differ: options, figures, sizes."""
    rows = app.catalog.diff(first, second)
    if app.json:
        return write_json(rows)
    table(
        [msgspec.to_builtins(row) for row in rows], [("key", ""), ("first", first), ("second", second)], empty="no difference"
    )  # fmt: skip


@subcommand(adapters, "lineage")
@click.argument("name")
def lineage(app: App, name: str) -> None:
    """What an adapter was made from, nearest first."""
    rows = app.catalog.lineage(name)
    if app.json:
        return write_json(rows)
    table([msgspec.to_builtins(row) for row in rows], [("name", "name"), ("kind", "kind"), ("relation", "relation"), ("digest", "digest")],
          empty="nothing is recorded")  # fmt: skip


@subcommand(adapters, "tag")
@click.argument("name")
@click.argument("tags", nargs=-1)
@click.option("--remove", "removed", multiple=True, help="Take a tag away.")
def tag(app: App, name: str, tags: tuple[str, ...], removed: tuple[str, ...]) -> None:
    """Add words to find an adapter by."""
    entry = app.catalog.tag(name, add=list(tags), remove=list(removed))
    if app.json:
        return write_json(entry)
    narrate(f"{entry.name}: {', '.join(entry.tags) or 'no tags'}")
