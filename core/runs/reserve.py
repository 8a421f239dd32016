"""A little disk space set aside for each active run, so that even on a full disk it can say how it ended."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from .. import errors, fsio

NAME = ".reserve"
SIZE = 128 * 1024
"""Bytes set aside; each shortage gives half of what is left back, so that job and supervisor both find some."""


def make_reserve(folder: Path) -> None:
    """Set the space aside in the run directory ``folder``.

    Raises:
        DiskError: the disk is full already.
    """
    fsio.write_bytes(folder / NAME, os.urandom(SIZE))  # random: file systems that compress would store zeros in nothing


def release(folder: Path, *, whole: bool = False) -> None:
    """Give half of the space back, or all of it; harmless when there is none."""
    path = folder / NAME
    try:
        size = 0 if whole else path.stat().st_size // 2
        if size < 4096:
            path.unlink()
        else:
            os.truncate(path, size)
    except FileNotFoundError:
        return


def write_json_reserved(path: Path, value: Any, run: Path | None = None) -> None:
    """`fsio.write_json` that gives reserved space back and tries again when the disk is full.

    Args:
        run: the run directory; none: ``path`` is right in it.

    Raises:
        DiskError: there was no reserve left, or the trouble is another one.
    """
    try:
        fsio.write_json(path, value)
    except errors.DiskError:
        release(run or path.parent)
        fsio.write_json(path, value)
