"""The app's own log, ``<home>/finetui.log``: what it did, what went wrong, crash reports. Workers append what they say on stderr."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from dataclasses import dataclass

from .paths import Home

log = logging.getLogger("finetui")
_MOST_BYTES = 4_000_000
_FORMAT = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%d %H:%M:%S")


def open_log(home: Home, level: str = "info") -> logging.Handler:
    """Write what is logged from now on, of ``level`` and above; a long file makes room first (``finetui.log.1`` keeps it).

    A disk that cannot be written loses the lines and nothing else.
    """
    close_log()
    with contextlib.suppress(OSError):
        if home.log.stat().st_size > _MOST_BYTES:
            os.replace(home.log, home.log.with_name(home.log.name + ".1"))
    handler = _Quiet(home.log, encoding="utf-8", delay=True)
    handler.setFormatter(_FORMAT)
    log.addHandler(handler)
    log.setLevel(level.upper())
    log.propagate = False
    return handler


def close_log() -> None:
    """Stop writing."""
    for handler in [handler for handler in log.handlers if isinstance(handler, _Quiet)]:
        log.removeHandler(handler)
        handler.close()


class _Quiet(logging.FileHandler):
    """A file that is missing or full must never end what is being logged, nor write over the screen."""

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(OSError):
            super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        """Say nothing."""


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was logged: its lines (a traceback has many), and ``debug``, ``info``, ``warning`` or ``error``.

    What workers say on stderr has no level and counts as ``info``.
    """

    level: str
    text: str


_HEAD = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR) +")


def read_log(home: Home, most_bytes: int = 256_000) -> list[Entry]:
    """The last entries of the log, oldest first; none where there is no log.

    Raises:
        OSError: the file cannot be read.
    """
    try:
        with open(home.log, "rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most_bytes))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return []
    entries: list[Entry] = []
    for line in lines[1:] if size > most_bytes else lines:
        found = _HEAD.match(line)
        if found or not entries:
            entries.append(Entry(found[1].lower() if found else "info", line))
        else:
            entries[-1] = Entry(entries[-1].level, f"{entries[-1].text}\n{line}")
    return entries
