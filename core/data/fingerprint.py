"""What a dataset is, whatever its files are called."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from ..errors import DiskError, NotFound


def fingerprint(paths: Sequence[str | Path]) -> str:
    """SHA-256 (hex) over the sha256 of every file's bytes: depends on contents and order, not on names.

    Raises:
        NotFound: a file does not exist.
        DiskError: a file cannot be read.
    """
    whole = hashlib.sha256()
    for path in paths:
        try:
            state = os.stat(path)
            whole.update(_file_digest(str(path), state.st_ino, state.st_size, state.st_mtime_ns))
        except FileNotFoundError as problem:
            raise NotFound(f"{path}: no such file", "check the path of the data") from problem
        except OSError as problem:
            raise DiskError(f"{path}: {problem.strerror or problem}", "check that the file can be read") from problem
    return whole.hexdigest()


@lru_cache(maxsize=64)
def _file_digest(path: str, _inode: int, _size: int, _modified: int) -> bytes:
    """SHA-256 of a file; asked again, it is read again only if it has changed."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
