"""Safetensors files, with errors that name the file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ..errors import CorruptFile, DiskError
from ..fsio import disk_errors


def save_tensors(path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    """Write tensors (copied to the CPU) as one safetensors file.

    Raises:
        DiskError: it could not be written, for example because the disk is full.
    """
    copies = {name: tensor.detach().to("cpu").contiguous() for name, tensor in tensors.items()}
    try:
        with disk_errors(path):
            save_file(copies, path, metadata={"format": "pt"})
    except SafetensorError as problem:
        raise DiskError(f"{path}: {problem}", "free some space, or use another --home") from problem


def load_tensors(path: Path) -> dict[str, torch.Tensor]:
    """Read a safetensors file onto the CPU.

    Raises:
        CorruptFile: it is missing or torn.
    """
    try:
        return load_file(path)
    except (SafetensorError, OSError) as problem:
        raise CorruptFile(f"{path}: {problem}") from problem
