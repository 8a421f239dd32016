"""Changing the catalog: register, import, tag and remove. Nothing outside the home directory is ever changed."""

from __future__ import annotations

import os
import re
import secrets
import shutil
import time
from pathlib import Path

from ..errors import NameTaken, Refused, UsageError
from ..fsio import disk_errors, fsync_dir, staged_folder
from ..modelspec import is_text_file
from ..paths import Home
from ..planner.reading import read_model
from ..runs.spec import ACTIVE
from .entries import AdapterEntry, ModelEntry
from .manifest import MANIFEST_FILE, BaseRef, Manifest, read_manifest, update_manifest, write_manifest
from .names import name_from, require_free
from .peftfiles import AdapterFiles, read_adapter

_TAG = re.compile(r"[\w.:+-]{1,64}")


def is_safe_file(name: str) -> bool:
    """Whether a file may enter the catalog: weights, configuration, tokenizer and text; no pickles, no code."""
    return name.lower().endswith(".safetensors") or is_text_file(name)


def own_files(folder: Path) -> list[Path]:
    """The files of an artifact's folder that may travel, by name: safe kinds, without links that lead out of the folder.

    A link into the ``blobs`` of a Hugging Face cache counts as the file that it stands for: snapshots are made of them.

    Raises:
        Refused: a link leads elsewhere: what it points to is not the artifact's, and could be anything of the user's.
    """
    files = [path for path in sorted(folder.iterdir()) if path.is_file() and is_safe_file(path.name)]
    for path in files:
        real = path.resolve()
        cached = real.parent.name == "blobs" and real.parent.parent.name.startswith("models--")
        if real.parent != folder.resolve() and not cached:
            raise Refused(f"{path} is a link to {real}, outside the folder", "replace it by the file itself, or remove it")
    return files


def add_model(home: Home, folder: Path, name: str) -> str:
    """Link a model folder into the catalog; returns its name (see `Catalog.add_model`)."""
    folder = folder.expanduser().absolute()
    spec = read_model(folder)
    if not spec.has_weights:
        raise Refused(f"{folder} has no weights, only config.json", "`finetui plan` takes such a folder as it is")
    name = name or name_from(folder)
    require_free(home, name)
    home.create()
    with disk_errors(home.models / name):
        try:
            os.symlink(folder, home.models / name)
        except FileExistsError:
            raise NameTaken(f"the name '{name}' is taken", "choose another with --name") from None
        fsync_dir(home.models)
    return name


def import_adapter(home: Home, folder: Path, name: str, model: ModelEntry | None) -> Path:
    """Copy a PEFT folder into the catalog; returns the new folder (see `Catalog.import_adapter`)."""
    folder = folder.expanduser().absolute()
    files = read_adapter(folder)
    name = name or name_from(folder)
    require_free(home, name)
    home.create()
    target = home.adapters / name
    with staged_folder(target) as staging:
        for path in own_files(folder):
            if path.name != MANIFEST_FILE:
                shutil.copyfile(path, staging / path.name)
        read_adapter(staging)
        write_manifest(staging, _imported_manifest(files, read_manifest(folder), name, model))
    return target


def _imported_manifest(files: AdapterFiles, found: Manifest | None, name: str, model: ModelEntry | None) -> Manifest:
    manifest = found or Manifest(method=files.kind, created=time.time())
    manifest.name = name
    if model is not None:
        manifest.base = BaseRef(name=model.name, hub_id=model.hub_id, revision=model.revision, digest=model.digest or "", path=model.path)
    return manifest


def tag(entry: AdapterEntry, add: list[str], remove: list[str]) -> None:
    """Rewrite the tags in an adapter's manifest.

    Raises:
        UsageError: a tag has spaces or other odd characters. Refused: the adapter is read-only.
    """
    for word in add:
        if not _TAG.fullmatch(word):
            raise UsageError(f"'{word}' cannot be a tag", "a tag is one word")
    if entry.source == "cache":
        raise Refused(f"'{entry.name}' is in the Hugging Face cache, which is read-only", f"pull it first: finetui pull {entry.hub_id}")
    kept = [word for word in entry.tags if word not in remove]
    folder = Path(entry.path)
    changes: dict[str, object] = {"tags": kept + [word for word in dict.fromkeys(add) if word not in kept]}
    if not (folder / MANIFEST_FILE).exists():
        changes |= {"name": entry.name, "method": entry.method}
    update_manifest(folder, **changes)


def remove(home: Home, parent: Path, entry: ModelEntry | AdapterEntry) -> None:
    """Delete an artifact below ``parent``, or the link that registers it.

    Raises:
        Refused: it lies elsewhere, or an active run needs it.
    """
    path = parent / entry.name
    ours = path.is_symlink() or path.is_dir()
    if entry.source in ("embedded", "cache") or "/" in entry.name or not ours:
        where = {"embedded": "part of FineTUI", "cache": "in the Hugging Face cache"}.get(entry.source, f"at {entry.path}")
        raise Refused(f"'{entry.name}' is {where}, not in the catalog's own folders", "FineTUI deletes only what lies below its home")
    user = active_use(home, entry.path)
    if user:
        raise Refused(f"'{entry.name}' is in use by run {user}", f"wait for it, or stop it: finetui runs stop {user}")
    with disk_errors(path):
        if path.is_symlink():
            path.unlink()
        else:
            trash = parent / f".{entry.name}.removed-{secrets.token_hex(4)}"
            path.rename(trash)
            shutil.rmtree(trash)
        fsync_dir(parent)


def active_use(home: Home, path: str) -> str:
    """The id of an active run whose request names ``path``; empty when there is none."""
    from ..runs.adopt import refresh
    from ..runs.store import RunStore

    for run in RunStore(home).list():
        if run.state().state in ACTIVE and refresh(run).state in ACTIVE and _mentions(run.spec.request, path):
            return run.spec.run
    return ""


def _mentions(value: object, path: str) -> bool:
    if isinstance(value, dict):
        return any(_mentions(item, path) for item in value.values())
    if isinstance(value, list):
        return any(_mentions(item, path) for item in value)
    return value == path
