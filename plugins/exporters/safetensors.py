"""A whole model folder of ``config.json``, safetensors and tokenizer, which every tool of the field reads."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.api import Exporter, ExportSource, NoOptions


class SafetensorsExporter(Exporter):
    """Adapters are merged, deltas put in, whole models copied; names, dtypes and files are the base's."""

    name = "safetensors"
    title = "Model folder"
    summary = "A whole model for transformers, vLLM and others: config.json, safetensors, tokenizer."
    options = NoOptions

    def refusal(self, source: ExportSource, options: NoOptions) -> str:
        """Nothing that is known before the worker looks."""
        return ""

    def export(self, source: ExportSource, folder: Path, options: NoOptions, *, verify: bool) -> dict[str, Any]:
        """Write the whole model."""
        from ...core.worker.export import write_folder

        return write_folder(source, folder, verify=verify)
