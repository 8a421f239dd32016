"""``finetui push`` and ``finetui pull``."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from ..hub.transfer import plan_push, pull_request, push_request
from .command import App, command
from .output import details, narrate, size, write_json
from .watch import finish

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
