"""Which task an artifact is for and which classes it tells apart, from its files alone."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..api import Task
from ..fsio import read_json
from .manifest import read_manifest
from .peftfiles import CONFIG_FILE, read_adapter

_LAST_LAYERS = ("score.weight", "classifier.weight", "classifier.out_proj.weight")
"""Endings of the names of the matrix whose rows are the classes."""


def is_classifier(config: Mapping[str, Any]) -> bool:
    """Whether a model's configuration is that of a sequence classifier."""
    architectures = config.get("architectures") or [""]
    return str(architectures[0]).endswith("ForSequenceClassification")


def classes_of(config: Mapping[str, Any]) -> list[str]:
    """The classes that a classifier's ``config.json`` names, in order; empty for other models."""
    if not is_classifier(config):
        return []
    found = config.get("id2label") or {str(number): f"LABEL_{number}" for number in range(config.get("num_labels", 2))}
    return [str(found[key]) for key in sorted(found, key=int)]


def task_of(folder: Path) -> Task:
    """``seq-cls`` or ``causal-lm``: what the adapter or model in ``folder`` is for."""
    manifest = read_manifest(folder)
    if manifest is not None and manifest.task:
        return "seq-cls" if manifest.task == "seq-cls" else "causal-lm"
    if (folder / CONFIG_FILE).is_file():
        return "seq-cls" if read_json(folder / CONFIG_FILE).get("task_type") == "SEQ_CLS" else "causal-lm"
    config = folder / "config.json"
    return "seq-cls" if config.is_file() and is_classifier(read_json(config)) else "causal-lm"


def trained_classes(folder: Path) -> list[str]:
    """The classes that the adapter, delta or model in ``folder`` tells apart, in order; ``LABEL_0``, … where nothing names them.

    Raises:
        CorruptFile, NotFound: its files cannot be read.
    """
    manifest = read_manifest(folder)
    if manifest is not None and manifest.labels:
        return manifest.labels
    if (folder / "config.json").is_file():
        return classes_of(read_json(folder / "config.json"))
    tensors = read_adapter(folder).tensors
    rows = [tensor.shape[0] for name, tensor in tensors.items() if name.endswith(_LAST_LAYERS) and len(tensor.shape) == 2]
    return [f"LABEL_{number}" for number in range(rows[0] if rows else 0)]
