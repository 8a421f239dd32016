"""``console.log``, what supervisor and job print: kept short while they go on writing, and read across the cut.

Their output is the file itself: a pipe that nobody drained would freeze the training. So it cannot be renamed under them; what is in
it is copied to ``console.1.log`` and the file is cut to nothing, and because they append, they go on at its start. What is written
in the instant between the last copied byte and the cut is lost.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import BinaryIO

LIMIT = 8 << 20
"""Bytes; a longer log is rotated. The part before is kept, the one before that is not."""

_KEPT_WITHOUT_COPY = 64 << 10
_TAIL = 8192
_BLOCK = 1 << 20


def log_file(folder: Path) -> Path:
    """What supervisor and job of the run in ``folder`` append to."""
    return folder / "console.log"


def rotate(folder: Path, limit: int = LIMIT) -> None:
    """Move what a log of more than ``limit`` bytes holds into the older file, in place of what was there.

    Only the run's supervisor calls this. Where the disk has no room for the copy, all but the last lines are given up: the
    space is needed more than they are. Any other trouble leaves the log as it is.
    """
    with contextlib.suppress(OSError), open(log_file(folder), "a+b", buffering=0) as log:
        size = os.fstat(log.fileno()).st_size
        if size <= limit:
            return
        try:
            _move(log, _older_file(folder))
        except OSError:
            log.seek(max(0, size - _KEPT_WITHOUT_COPY))
            kept = (log.readall() or b"").partition(b"\n")[2]
            log.truncate(0)
            log.write(kept)


def tail(folder: Path, lines: int = 12) -> str:
    """The last non-empty lines of what was printed."""
    text = b"".join(_read(path, max(0, _size(path) - _TAIL)) for path in (_older_file(folder), log_file(folder)))
    return "\n".join([line for line in text.decode(errors="replace").splitlines() if line.strip()][-lines:])


class LogReader:
    """Whole lines of the log as they come, each once, rotated or not.

    Args:
        tail: of what is there already, give only the last so many bytes; ``None``: all of it, the older file included.
    """

    def __init__(self, folder: Path, tail: int | None) -> None:
        self._log, self._older = log_file(folder), _older_file(folder)
        self._rotation = _inode(self._older)
        older, size = _size(self._older), _size(self._log)
        start = 0 if tail is None else max(0, older + size - tail)
        self._rest = _read(self._older, start) if start < older else b""
        self._offset = max(0, start - older)

    def read(self) -> list[str]:
        """The lines that were finished since the last call."""
        size, rotation = _size(self._log), _inode(self._older)
        if rotation != self._rotation and size < _size(self._older):  # else it is not cut yet: the copy comes first
            self._take(self._older)
            self._offset, self._rotation = 0, rotation
        elif size < self._offset:  # cut without a copy
            self._offset = 0
        self._take(self._log)
        lines = self._rest.split(b"\n")  # a progress bar's carriage return does not end a line
        self._rest = lines.pop()
        return [line.decode(errors="replace") for line in lines]

    def _take(self, path: Path) -> None:
        block = _read(path, self._offset)
        self._offset += len(block)
        self._rest += block


def _older_file(folder: Path) -> Path:
    return folder / "console.1.log"


def _move(log: BinaryIO, target: Path) -> None:
    """Copy a log into a new file, by which readers know that it was rotated, and cut it at the moment when there is no more to copy."""
    import shutil

    temporary = target.with_name(f".{target.name}")
    try:
        with open(temporary, "wb") as copy:
            log.seek(0)
            shutil.copyfileobj(log, copy)
            copy.flush()
            os.replace(temporary, target)
            while block := log.read(_BLOCK):
                copy.write(block)
                copy.flush()
            log.truncate(0)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def _read(path: Path, start: int) -> bytes:
    """A file from ``start`` on; nothing of an absent one."""
    try:
        with open(path, "rb") as file:
            file.seek(start)
            return file.read()
    except FileNotFoundError:
        return b""


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return 0
