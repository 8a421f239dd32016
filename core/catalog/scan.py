"""Finding artifacts: which folders there are, and what the files of one say. A broken folder is listed with its problem."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import msgspec

from ..embedded import BASE_MODEL_NAME, base_model_dir
from ..errors import FineTUIError
from ..fsio import read_json
from ..paths import Home
from ..planner.headers import weight_files
from ..planner.reading import read_model
from . import hfcache
from .classes import classes_of
from .entries import AdapterEntry, ModelEntry
from .manifest import BaseRef, Manifest, read_manifest
from .peftfiles import is_adapter, read_adapter

FACTS_VERSION = 3
"""Raise it when the same files should give other entries, so that remembered ones are read again."""

Kind = Literal["model", "adapter"]


@dataclass(frozen=True, slots=True)
class Place:
    """One folder that holds an artifact (or what is left of one).

    Attributes:
        folder: where the files are; for a registered folder the target of the link.
        origin: ``embedded``, ``home`` (below the home directory), ``link``, ``cache`` or ``path`` (named by the user).
        expected: what a folder with neither kind of configuration is listed as, with its problem.
    """

    folder: Path
    name: str
    origin: Literal["embedded", "home", "link", "cache", "path"]
    hub_id: str = ""
    revision: str = ""
    expected: Kind = "model"


class AdapterFacts(msgspec.Struct):
    """An adapter's entry before its base is looked for, and how the base is named in its files."""

    entry: AdapterEntry
    base: BaseRef


def places(home: Home) -> Iterator[Place]:
    """Every folder that may hold an artifact: the embedded base, the home's own, the Hugging Face cache's."""
    if (base_model_dir() / "config.json").is_file():
        yield Place(base_model_dir(), BASE_MODEL_NAME, "embedded")
    expected: dict[Path, Kind] = {home.models: "model", home.adapters: "adapter"}
    for parent, kind in expected.items():
        for path in _visible(parent):
            if path.is_symlink():
                yield Place(Path(os.path.normpath(parent / os.readlink(path))), path.name, "link", expected=kind)
            elif path.is_dir():
                yield Place(path, path.name, "home", expected=kind)
    for snapshot in hfcache.snapshots():
        name = snapshot.repo if snapshot.newest else f"{snapshot.repo}@{snapshot.revision[:12]}"
        yield Place(snapshot.folder, name, "cache", snapshot.repo, snapshot.revision)


def _visible(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    except OSError:
        return []


def kinds(place: Place) -> tuple[Kind, ...]:
    """What the folder holds: a full fine-tune is both a model and, with method ``full``, an adapter."""
    if is_adapter(place.folder):
        return ("adapter",)
    if (place.folder / "config.json").is_file():
        return ("model", "adapter") if _is_full_result(place.folder) else ("model",)
    if place.origin == "cache":
        return ()
    return (place.expected,)


def _is_full_result(folder: Path) -> bool:
    try:
        manifest = read_manifest(folder)
    except FineTUIError:
        return False
    return manifest is not None and bool(manifest.method) and not _is_merged(manifest)


def _is_merged(manifest: Manifest) -> bool:
    return any(parent.kind == "adapter" for parent in manifest.parents)


def fingerprint(place: Place) -> str:
    """Changes whenever a file of the folder does, or the place is named differently."""
    rows = [f"{FACTS_VERSION} {place.name} {place.origin} {place.hub_id} {place.revision}"]
    try:
        for entry in sorted(os.scandir(place.folder), key=lambda entry: entry.name):
            status = entry.stat()
            rows.append(f"{entry.name} {status.st_size} {status.st_mtime_ns} {status.st_ino}")
    except OSError as problem:
        rows.append(str(problem))
    return hashlib.sha256("\n".join(rows).encode()).hexdigest()


def scan_model(place: Place) -> ModelEntry:
    """What the files of a model folder say; the digest is left open."""
    entry = ModelEntry(name=place.name, path=str(place.folder), hub_id=place.hub_id, revision=place.revision)
    entry.source = {"embedded": "embedded", "cache": "cache"}.get(place.origin, "local")  # type: ignore[assignment]
    try:
        _require_folder(place)
        spec = read_model(place.folder)
        entry.architecture, entry.model_type = spec.architecture, spec.model_type
        entry.parameters, entry.dtype = spec.parameters, spec.dtype
        entry.task, entry.labels = task_of(spec.architecture), classes_of(spec.config)
        entry.size_bytes = sum(file.stat().st_size for file in weight_files(place.folder))
        entry.chat_template = _has_chat_template(place.folder)
        if not spec.has_weights:
            entry.problem = "no weights: only config.json is here"
        entry.created = (place.folder / "config.json").stat().st_mtime
        _apply_model_manifest(entry, read_manifest(place.folder))
    except FineTUIError as problem:
        entry.problem = problem.message
    except OSError as problem:
        entry.problem = f"{place.folder}: {problem.strerror}"
    return entry


def _require_folder(place: Place) -> None:
    if not place.folder.is_dir():
        raise FineTUIError(f"{place.folder} is gone", "put it back, or remove the entry")


def _apply_model_manifest(entry: ModelEntry, manifest: Manifest | None) -> None:
    if manifest is None:
        return
    if manifest.kind == "model" and entry.source == "local":
        entry.source = "merged" if _is_merged(manifest) else "trained" if manifest.method else "local"
    entry.base = manifest.base.hub_id or manifest.base.name
    entry.method, entry.run = manifest.method, manifest.run
    entry.created = manifest.created or entry.created
    entry.task = manifest.task or entry.task
    entry.tags = manifest.tags


def task_of(architecture: str) -> str:
    """The task that an architecture's head is made for; empty where FineTUI trains none."""
    if architecture.endswith("ForSequenceClassification"):
        return "seq-cls"
    return "causal-lm" if architecture.endswith(("ForCausalLM", "LMHeadModel")) else ""


def _has_chat_template(folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file() or (folder / "chat_template.json").is_file():
        return True
    try:
        return bool(read_json(folder / "tokenizer_config.json").get("chat_template"))
    except (OSError, FineTUIError):
        return False


def scan_adapter(place: Place) -> AdapterFacts:
    """What the files of an adapter folder say; digest and base are left open."""
    facts = AdapterFacts(AdapterEntry(name=place.name, path=str(place.folder), hub_id=place.hub_id, revision=place.revision), BaseRef())
    entry = facts.entry
    entry.source = {"cache": "cache", "home": "imported"}.get(place.origin, "local")  # type: ignore[assignment]
    try:
        _require_folder(place)
        manifest = read_manifest(place.folder)
        if manifest is not None:
            _apply_adapter_manifest(facts, manifest)
        if is_adapter(place.folder):
            _apply_adapter_files(facts, place.folder)
        else:
            _apply_full_result(facts, place.folder)
    except FineTUIError as problem:
        entry.problem = problem.message
    except OSError as problem:
        entry.problem = f"{place.folder}: {problem.strerror}"
    entry.base = entry.base or facts.base.hub_id or facts.base.name
    return facts


def _apply_adapter_manifest(facts: AdapterFacts, manifest: Manifest) -> None:
    entry, facts.base = facts.entry, manifest.base
    entry.method, entry.run, entry.task, entry.labels = manifest.method, manifest.run, manifest.task, manifest.labels
    entry.created, entry.tags, entry.metrics = manifest.created, manifest.tags, manifest.metrics
    entry.options = manifest.method_options
    entry.base_digest, entry.base_revision = manifest.base.digest, manifest.base.revision
    if manifest.source.repo:
        entry.source, entry.hub_id, entry.revision = "pulled", manifest.source.repo, manifest.source.revision
    elif manifest.run:
        entry.source = "trained"


def _apply_adapter_files(facts: AdapterFacts, folder: Path) -> None:
    entry, files = facts.entry, read_adapter(folder)
    entry.peft_type, entry.rank = files.peft_type, files.rank
    entry.parameters, entry.size_bytes = files.parameters, files.size_bytes
    entry.artifact = "delta" if files.is_delta else "adapter"
    entry.method = entry.method or files.kind or "delta"
    entry.task = entry.task or {"CAUSAL_LM": "causal-lm", "SEQ_CLS": "seq-cls"}.get(str(files.config.get("task_type")), "")
    entry.created = entry.created or max(path.stat().st_mtime for path in folder.iterdir())
    entry.base_revision = entry.base_revision or str(files.config.get("revision") or "")
    _name_base(facts.base, files.base)


def _name_base(base: BaseRef, written: str) -> None:
    """Fill what the manifest does not say from ``base_model_name_or_path``: a path, a Hub id or a catalog name."""
    if not written:
        return
    if written.startswith(("/", "./", "../", "~")):
        base.path = base.path or str(Path(written).expanduser().absolute())
        base.name = base.name or written
    elif written.count("/") == 1:
        base.hub_id = base.hub_id or written
    else:
        base.name = base.name or written


def _apply_full_result(facts: AdapterFacts, folder: Path) -> None:
    entry, spec = facts.entry, read_model(folder)
    entry.artifact = "model"
    entry.parameters = spec.parameters
    entry.size_bytes = sum(file.stat().st_size for file in weight_files(folder))
