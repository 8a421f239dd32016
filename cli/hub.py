"""``finetui push``, ``pull``, ``search`` and ``card``."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ..hub.searching import name_on_hubs, read_card, search_hub
from ..hub.transfer import plan_push, pull_request, push_request
from .command import App, command
from .output import day, details, markdown, narrate, quantity, size, table, write_json
from .watch import finish

_COLUMNS = [
    ("repo", "repository"), ("method", "method"), ("base", "base"), ("downloads", "downloads>"), ("likes", "likes>"),
    ("modified", "modified"),
]  # fmt: skip
_HUB_HELP = "huggingface, folder, or folder:/shared/directory; default: from the settings."


@command("push")
@click.argument("adapter")
@click.argument("repo")
@click.option("--hub", default="", help=_HUB_HELP)
@click.option("--public", is_flag=True, help="Make the repository public; default: private.")
@click.option("--pr", is_flag=True, help="Open a pull request instead of writing to the main branch.")
@click.option("--revision", default="", help="Branch to write to.")
@click.option("--dry-run", is_flag=True, help="Show the card and the files; send nothing.")
@click.option("--detach", is_flag=True, help="Return at once with the run's id.")
def push(app: App, adapter: str, repo: str, hub: str, public: bool, pr: bool, revision: str, dry_run: bool, detach: bool) -> None:
    """Publish an adapter: weights, configuration, manifest and a model card, as one commit."""
    hub = hub or app.settings.default_hub
    plan = plan_push(app.home, adapter, repo, hub=hub, private=not public)
    for warning in plan.warnings:
        narrate(f"warning: {warning}")
    if dry_run:
        return _show_plan(app, msgspec.to_builtins(plan))
    request = push_request(
        app.home, adapter, repo, hub=hub, private=not public, revision=revision, pull_request=pr, settings=app.settings
    )  # fmt: skip
    _report(app, finish(app, app.home, "push", f"push-{repo.rsplit('/', 1)[-1]}", request, detach=detach))


def _show_plan(app: App, plan: dict[str, Any]) -> None:
    if app.json:
        return write_json({"dry_run": True, **plan})
    details({"repo": plan["repo"], "private": plan["private"], "files": {file["path"]: size(file["size"]) for file in plan["files"]}})
    click.echo("\n" + plan["card"])


@command("pull")
@click.argument("repo", metavar="REPO[@REVISION]")
@click.option("--hub", default="", help=_HUB_HELP)
@click.option("--name", default="", help="Name in the catalog; default: the repository's.")
@click.option("--detach", is_flag=True, help="Return at once with the run's id.")
def pull(app: App, repo: str, hub: str, name: str, detach: bool) -> None:
    """Fetch an adapter, verify every file, and list it in the catalog."""
    request = pull_request(app.home, repo, hub=hub or app.settings.default_hub, name=name, settings=app.settings)
    _report(app, finish(app, app.home, "pull", f"pull-{request.name}", request, detach=detach))


def _report(app: App, result: dict[str, Any] | None) -> None:
    if result is None:
        return
    if app.json:
        return write_json(result)
    details({**result, "bytes_sent": size(result["bytes_sent"])})


@command("search")
@click.argument("words", nargs=-1)
@click.option("--base", default="", metavar="MODEL", help="Only adapters of this base: a Hub id, or a model in the catalog.")
@click.option("--hub", default="", help=_HUB_HELP)
@click.option("--limit", default=50, type=click.IntRange(1, 1000), show_default=True, help="How many at most.")
def search(app: App, words: tuple[str, ...], base: str, hub: str, limit: int) -> None:
    """Find adapters on a hub by words and by their base model."""
    hub = hub or app.settings.default_hub
    rows = search_hub(app.home, " ".join(words), base=base, hub=hub, settings=app.settings, limit=limit)
    if app.json:
        return write_json(rows)
    asked = [f"with '{' '.join(words)}'"] * bool(words) + [f"for {name_on_hubs(app.home, base)}"] * bool(base)
    table([_readable(msgspec.to_builtins(row)) for row in rows], _COLUMNS, empty=" ".join(["no adapter", *asked, "on", hub]))


def _readable(row: dict[str, Any]) -> dict[str, Any]:
    counts = {key: quantity(row[key]) for key in ("downloads", "likes")}
    return {**row, **counts, "repo": row["repo"] + (" (private)" if row["private"] else ""), "modified": day(row["modified"])}


@command("card")
@click.argument("repo", metavar="REPO[@REVISION]")
@click.option("--hub", default="", help=_HUB_HELP)
def card(app: App, repo: str, hub: str) -> None:
    """Read the model card of an adapter before pulling it."""
    text = read_card(app.home, repo, hub=hub or app.settings.default_hub, settings=app.settings)
    if app.json:
        return write_json({"repo": repo, "card": text})
    if not text.strip():
        return narrate(f"{repo} has no card")
    markdown(text)
