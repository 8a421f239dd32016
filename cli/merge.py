"""``finetui merge``: an adapter into its base, as an ordinary model folder."""

from __future__ import annotations

import click

from ..core.runs.requests import merge_request
from .command import App, command
from .output import details, size, write_json
from .watch import finish


@command("merge")
@click.option("--model", required=True, help="Base model.")
@click.option("--adapter", required=True, help="Adapter of that base.")
@click.option("--out", required=True, metavar="DIR", help="Folder to write; must not exist.")
@click.option("--verify", is_flag=True, help="Compare the merged model's logits with the adapter's on the base.")
@click.option("--force", is_flag=True, help="Merge although the adapter records another digest of the base.")
@click.option("--gpus", default=None, help="auto, none, or indices or UUIDs.")
@click.option("--detach", is_flag=True, help="Return at once with the run's id.")
def merge(app: App, model: str, adapter: str, out: str, verify: bool, force: bool, gpus: str | None, detach: bool) -> None:
    """Merge an adapter into its base: one ordinary model folder, as fast as the base and without PEFT."""
    request = merge_request(
        app.home, model=model, adapter=adapter, out=out, verify=verify, force=force, gpus=gpus or app.settings.gpus
    )  # fmt: skip
    result = finish(app, app.home, "merge", f"merge-{request.adapter.rsplit('/', 1)[-1]}", request, detach=detach)
    if result is None:
        return
    if app.json:
        return write_json(result)
    details({**result, "bytes": size(result["bytes"]), "peak_memory_bytes": size(result["peak_memory_bytes"])})
