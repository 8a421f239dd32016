"""From what a person asks to what an export run does: the artifact found, with its base, and the exporter asked."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import registry
from ..api import Exporter, ExportSource
from ..catalog.catalog import Catalog
from ..catalog.entries import AdapterEntry, ModelEntry
from ..errors import Incompatible, NameTaken, NotFound
from ..options import parse, to_dict
from ..paths import Home
from .requests import require_trainable
from .spec import ExportRequest


def export_request(
    home: Home,
    artifact: str,
    *,
    format: str,
    out: str | Path,
    model: str = "",
    settings: Mapping[str, Any] | None = None,
    verify: bool = True,
    gpus: str = "auto",
) -> ExportRequest:
    """Check and resolve an export.

    Args:
        artifact: an adapter, a delta, a full fine-tune, or any other model.
        format: name of an exporter.
        out: what to write; must not exist.
        model: the base; empty: the one that the adapter names.
        settings: options of the exporter.

    Raises:
        NotFound: no such artifact or exporter, or the adapter's base is not on this machine.
        Incompatible: the adapter belongs to another base, or the exporter cannot write this.
        NameTaken: ``out`` exists.
    """
    exporter: Exporter = registry.load("exporters", format)
    options = parse(exporter.options, dict(settings or {}), owner=f"exporter '{format}'")
    catalog = Catalog(home)
    base, adapter = _find(catalog, artifact, model)
    require_trainable(base)
    if adapter is not None:
        catalog.check_pair(base, adapter)
    folder = Path(adapter.path) if adapter else None
    reason = exporter.refusal(ExportSource(Path(base.path), folder, lambda: None), options)
    if reason:
        raise Incompatible(f"{artifact} cannot be exported as {format}: {reason}", "`finetui export --help` lists the formats")
    target = Path(out).expanduser().absolute()
    if target.exists() or target.is_symlink():
        raise NameTaken(f"{target} exists already", "choose another --out, or remove it first")
    return ExportRequest(
        model=model or base.name, model_path=base.path, base_model_name_or_path=base.hub_id or base.path,
        adapter=str(folder or ""), format=format, exporter_options=to_dict(options, changed_only=True), output=str(target),
        verify=verify, gpus=gpus,
    )  # fmt: skip


def _find(catalog: Catalog, artifact: str, model: str) -> tuple[ModelEntry, AdapterEntry | None]:
    """The model to export, and the adapter on it; a full fine-tune is a model of its own."""
    try:
        adapter = catalog.adapter(artifact)
    except NotFound:
        try:
            return catalog.model(artifact), None
        except NotFound:
            raise NotFound(
                f"neither an adapter nor a model '{artifact}' here", "see `finetui adapters list` and `finetui models list`"
            ) from None
    if adapter.artifact == "model":
        return catalog.model(adapter.path), None
    if not model and not adapter.base_path:
        raise NotFound(
            f"the base of '{adapter.name}', {adapter.base or 'unknown'}, is not on this machine", "fetch it, or name it with --model"
        )
    return catalog.model(model or adapter.base_path), adapter
