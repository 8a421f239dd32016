"""``finetui models``: base models on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
import msgspec

from ..core.catalog.entries import ModelEntry
from ..core.errors import UsageError
from .command import App, group, subcommand
from .confirm import confirmed
from .output import details, narrate, quantity, size, table, write_json

_COLUMNS = [
    ("name", "name"), ("architecture", "architecture"), ("parameters", "parameters>"), ("dtype", "dtype"), ("size", "size>"),
    ("source", "source"), ("problem", "problem"),
]  # fmt: skip


@group()
def models() -> None:
    """Base models on this machine."""


def _readable(entry: ModelEntry) -> dict[str, Any]:
    return {**msgspec.to_builtins(entry), "parameters": quantity(entry.parameters), "size": size(entry.size_bytes)}


@subcommand(models, "list")
def list_models(app: App) -> None:
    """Local folders, the Hugging Face cache, trained and merged models, and the embedded one."""
    entries = app.catalog.models()
    if app.json:
        return write_json(entries)
    table([_readable(entry) for entry in entries], _COLUMNS, empty="no models: finetui models add FOLDER")


@subcommand(models, "show")
@click.argument("name")
def show(app: App, name: str) -> None:
    """One model, its digest computed if it is not known yet."""
    entry = app.catalog.model(name)
    entry.digest = app.catalog.digest(entry.path)
    if app.json:
        return write_json(entry)
    details({**_readable(entry), "adapters": [a.name for a in app.catalog.adapters() if a.base_path == entry.path]})


@subcommand(models, "add")
@click.argument("source", metavar="FOLDER|HUB_ID[@REVISION]")
@click.option("--name", default="", help="Name in the catalog; default: the folder's.")
def add(app: App, source: str, name: str) -> None:
    """Register a local folder (nothing is copied), or download a model into the Hugging Face cache."""
    folder = Path(source).expanduser()
    if folder.is_dir():
        entry = app.catalog.add_model(folder, name)
    elif source.count("/") == 1 and not source.startswith((".", "/", "~")):
        if name:
            raise UsageError("--name is for folders", "a model of the Hub keeps its id as its name")
        from ..hub.models import download_model

        repo, _, revision = source.partition("@")
        narrate(f"downloading {repo} into the Hugging Face cache")
        entry = app.catalog.model(str(download_model(repo, revision)))
    else:
        raise UsageError(f"'{source}' is neither a folder nor a Hub id", "give a folder with config.json, or owner/name[@revision]")
    if app.json:
        return write_json(entry)
    narrate(f"{entry.name}: {entry.architecture}, {quantity(entry.parameters)} parameters")


@subcommand(models, "remove")
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(app: App, name: str, yes: bool) -> None:
    """Forget a registered folder (its files stay), or delete a trained or merged model."""
    entry = app.catalog.model(name)
    confirmed(app, f"remove the model {entry.name}?", yes)
    app.catalog.remove_model(name)
    if app.json:
        write_json({"removed": entry.name})
    else:
        narrate(f"removed {entry.name}")
