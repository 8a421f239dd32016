"""Eight GPUs that are not there: the double of NVML, for a test's own process and all that it starts."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from finetui.core.devices import nvidia
from support.runs import TESTS

DOUBLE = TESTS / "support" / "nvml_double"
GB = 10**9


class Gpus:
    """GPUs with 80 GB each; what others use of them is written into a file that the double reads."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self.use()

    def use(self, **gigabytes: int) -> None:
        """Let others use memory: ``use(gpu0=70)``; the rest is empty."""
        used = {str(number): gigabytes.get(f"gpu{number}", 0) * GB for number in range(8)}
        staged = self._file.with_suffix(".new")
        staged.write_text(json.dumps({"used": used}))
        staged.replace(self._file)


@contextmanager
def eight_gpus(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Gpus]:
    """Put the double in the place of NVML's Python package."""
    monkeypatch.setenv("PYTHONPATH", f"{TESTS}:{DOUBLE}")
    monkeypatch.setenv("DOUBLE_STATE", str(folder / "gpus.json"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.syspath_prepend(str(DOUBLE))
    monkeypatch.delitem(sys.modules, "pynvml", raising=False)
    monkeypatch.setattr(nvidia, "_session", None)
    try:
        yield Gpus(folder / "gpus.json")
    finally:
        sys.modules.pop("pynvml", None)


def uuid(number: int) -> str:
    """Of one of the GPUs."""
    return f"GPU-0000000{number}-double"
