"""The result of a training run: a whole folder that appears at once, or not at all."""

from __future__ import annotations

import shutil
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError

from ..api import Method
from ..catalog.catalog import Catalog
from ..catalog.manifest import BaseRef, DataRef, Manifest, Parent, read_manifest, write_manifest
from ..catalog.peftfiles import CONFIG_FILE
from ..data.fingerprint import fingerprint
from ..dropout import dropout_names
from ..errors import DiskError
from ..fsio import disk_errors, read_json, staged_folder, write_json
from ..modelspec import companions
from ..options import to_dict
from ..paths import Home
from ..planner.reading import read_model
from ..runs.spec import TrainRequest
from ..training import TrainingOptions

_PACKAGES = ("finetui", "torch", "transformers", "peft", "accelerate", "bitsandbytes", "safetensors", "tokenizers")


class Sources(NamedTuple):
    """Digests of the base's weights, the training data, and the evaluation data (empty where there is none of its own)."""

    base: str
    data: str
    evaluation: str


def read_sources(home: Home, request: TrainRequest) -> Sources:
    """What a run is about to be made from: taken when it begins, as the files may change or go while it trains."""
    evaluation = fingerprint(request.eval_data) if request.eval_data else ""
    return Sources(Catalog(home).digest(request.model_path), fingerprint(request.data), evaluation)


def is_published(request: TrainRequest, run: str) -> bool:
    """Whether ``run`` has already published its result (and ended before it could say so)."""
    manifest = read_manifest(Path(request.output))
    return manifest is not None and manifest.run == run


def publish(model: Any, method: Method, request: TrainRequest, manifest: Manifest) -> Path:
    """Write the result to ``request.output``: weights, configuration, manifest, and a whole model's tokenizer.

    Raises:
        NameTaken: there is something of that name.
        DiskError: the disk is full; nothing half-written stays.
    """
    target = Path(request.output)
    with staged_folder(target) as folder:
        method.save(model, folder)
        if method.artifact == "model":
            copy_tokenizer(Path(request.model_path), folder)
        else:
            name_base(folder, request.base_model_name_or_path, request.base_revision)
        write_manifest(folder, manifest)
    return target


def build_manifest(
    request: TrainRequest,
    method: Method,
    method_options: Any,
    options: TrainingOptions,
    *,
    precision: str,
    run: str,
    rows: int,
    metrics: dict[str, Any],
    sources: Sources,
    labels: list[str],
) -> Manifest:
    """Where the result comes from, in full. ``precision`` is the computation's: ``bf16``, ``fp16`` or ``fp32``."""
    hub_id = "" if Path(request.base_model_name_or_path).is_absolute() else request.base_model_name_or_path
    return Manifest(
        kind="model" if method.artifact == "model" else "adapter", name=request.name, method=method.name,
        method_options=to_dict(method_options), training_options=to_dict(options, changed_only=True), training_precision=precision,
        objective=request.objective, task=request.task, labels=labels,
        base=BaseRef(name=request.model, hub_id=hub_id, revision=request.base_revision, digest=sources.base, path=request.model_path),
        data=DataRef(
            files=request.data, digest=sources.data, rows=rows, eval_files=request.eval_data, eval_digest=sources.evaluation
        ), seed=request.seed,
        versions={name: version(name) for name in _PACKAGES}, metrics=metrics, run=run, created=time.time(),
        parents=[Parent(relation="base", name=request.model, digest=sources.base, repo=hub_id, revision=request.base_revision)],
    )  # fmt: skip


def name_base(folder: Path, base: str, revision: str = "") -> None:
    """Write into a PEFT folder's configuration which base it belongs to: a Hub id, or a folder's absolute path."""
    path = folder / CONFIG_FILE
    if path.exists():
        write_json(path, {**read_json(path), "base_model_name_or_path": base, "revision": revision or None})


def save_model(model: Any, folder: Path) -> None:
    """Write a whole model as ``config.json`` and safetensors, in the precision that its base was stored in.

    The model itself is converted, so that no second copy is needed: train it no further.

    Raises:
        DiskError: the disk is full.
    """
    base = read_model(Path(model.name_or_path))
    dtype = getattr(torch, base.dtype)
    for name in dropout_names(base.config):  # a training option may have changed it, which is not the model's
        setattr(model.config, name, base.config.get(name, getattr(type(model.config)(), name)))
    try:
        with disk_errors(folder):
            model.to(dtype).save_pretrained(str(folder))
    except SafetensorError as problem:
        raise DiskError(f"{folder}: {problem}", "free some space, or use another --home") from problem


def copy_tokenizer(source: Path, folder: Path) -> None:
    """Copy everything of a model folder that is neither weights nor written anew: tokenizer, chat template, licence, unchanged."""
    for path in companions(source):
        if path.name not in ("config.json", "generation_config.json"):
            shutil.copyfile(path, folder / path.name)
