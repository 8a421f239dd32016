"""What models and adapters take once they are loaded, for what only uses them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from pathlib import Path

from ..catalog.digest import weight_files
from ..errors import CorruptFile
from .memory import CUDA_CONTEXT


def loaded_bytes(folders: Iterable[str | Path]) -> int:
    """About what the artifacts in these folders take on a GPU together: their weight files and the CUDA context; no activations.

    A folder that cannot be read counts nothing: loading it says what is wrong.
    """
    total = CUDA_CONTEXT
    for folder in folders:
        with contextlib.suppress(OSError, CorruptFile):
            total += sum(file.stat().st_size for file in weight_files(Path(folder)))
    return total
