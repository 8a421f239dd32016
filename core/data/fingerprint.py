"""What a dataset is, whatever its files are called."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
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
            with Path(path).open("rb") as file:
                whole.update(hashlib.file_digest(file, "sha256").digest())
        except FileNotFoundError as problem:
            raise NotFound(f"{path}: no such file", "check the path of the data") from problem
        except OSError as problem:
            raise DiskError(f"{path}: {problem.strerror or problem}", "check that the file can be read") from problem
    return whole.hexdigest()
