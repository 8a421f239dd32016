"""``finetui export``: an adapter, a delta or a model in another form."""

from __future__ import annotations

import click

from ..core import registry
from ..core.runs.exporting import export_request
from .command import App, command, settings_of
from .output import details, size, write_json
from .watch import finish


@command("export")
@click.argument("artifact")
@click.option("--format", "format_", required=True, metavar="FORMAT", help=f"One of: {', '.join(registry.names('exporters'))}.")
@click.option("--out", required=True, metavar="PATH", help="What to write; must not exist.")
@click.option("--model", default="", help="Base model; by default the one that the artifact names.")
@click.option("--set", "settings", multiple=True, metavar="KEY=VALUE", help="An option of the exporter.")
@click.option("--verify/--no-verify", default=True, help="Compare what was written with what it was made from.")
@click.option("--gpus", default=None, help="auto, none, or indices or UUIDs.")
@click.option("--detach", is_flag=True, help="Return at once with the run's id.")
def export(
    app: App, artifact: str, format_: str, out: str, model: str, settings: tuple[str, ...], verify: bool, gpus: str | None, detach: bool
) -> None:
    """Write ARTIFACT (an adapter, a delta, a full fine-tune or any model) in another form; with `safetensors` as a whole model."""
    request = export_request(
        app.home, artifact, format=format_, out=out, model=model, settings=settings_of(settings), verify=verify,
        gpus=gpus or app.settings.gpus,
    )  # fmt: skip
    result = finish(app, app.home, "export", f"export-{request.output.rsplit('/', 1)[-1]}", request, detach=detach)
    if result is None:
        return
    if app.json:
        return write_json(result)
    details({**result, "bytes": size(result["bytes"]), "peak_memory_bytes": size(result["peak_memory_bytes"])})
