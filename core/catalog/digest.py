"""Digests: the identity of an artifact is the sha256 of its weight files, not of its configuration (publishing rewrites that)."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from pathlib import Path

from ..fsio import disk_errors
from ..planner.headers import weight_files as model_weight_files

DELTA_FILE = "delta.safetensors"
"""The tensors of a base that a method changed, in full."""

ADAPTER_FILES = ("adapter_model.safetensors", DELTA_FILE)
"""Weights of an adapter: PEFT's, and replacement tensors of methods that change the base's own."""

_SHA256 = re.compile(r"[0-9a-f]{64}")


def weight_files(folder: Path) -> list[Path]:
    """The safetensors files that are an artifact's weights: a model's (single or sharded), else an adapter's.

    Raises:
        CorruptFile: the index of a sharded model cannot be read, or names a file outside the folder.
    """
    return model_weight_files(folder) or [folder / name for name in ADAPTER_FILES if (folder / name).is_file()]


def sha256_file(path: Path) -> str:
    """Hexadecimal sha256 of a file's contents.

    Raises:
        DiskError: it cannot be read.
    """
    with disk_errors(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def blob_digest(path: Path) -> str:
    """The sha256 that the Hugging Face cache keeps as the name of a large file's blob; empty for any other file."""
    if not path.is_symlink():
        return ""
    blob = path.resolve()
    return blob.name if blob.parent.name == "blobs" and _SHA256.fullmatch(blob.name) else ""


def combine(digests: Mapping[str, str]) -> str:
    """One digest from file name → sha256: a single file's own, else sha256 over sorted ``<sha256>  <file name>`` lines."""
    if len(digests) == 1:
        return next(iter(digests.values()))
    lines = sorted(f"{digest}  {name}\n" for name, digest in digests.items())
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def digest_folder(folder: Path, file_digest: Callable[[Path], str] = sha256_file) -> str:
    """The digest of an artifact's weight files; empty where it has none.

    Args:
        file_digest: how one file's sha256 is found (the catalog passes one with a cache).
    """
    digests = {path.name: blob_digest(path) or file_digest(path) for path in weight_files(folder)}
    return combine(digests) if digests else ""
