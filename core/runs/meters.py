"""The meters of a run's devices over time: ``devices.jsonl``, written by its supervisor, and what they come to."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .. import errors, fsio

if TYPE_CHECKING:
    import threading

FILE = "devices.jsonl"

SECONDS = 5.0
SHARE = 0.001
"""Readings are at least this many seconds and this share of the time so far apart: a week makes some ten thousand."""

HISTORY = 60
"""Readings that a summary keeps of a whole run."""

_READINGS = ("utilisation", "memory_bytes", "temperature", "power")


@contextlib.contextmanager
def recording(folder: Path, uuids: Sequence[str]) -> Iterator[None]:
    """Append a reading of these devices to the run's ``devices.jsonl`` every few seconds, meanwhile.

    In a thread of its own: a driver that hangs must not keep the supervisor from stopping the run.
    """
    import threading

    ended = threading.Event()
    if uuids:
        threading.Thread(target=_record, args=(folder, frozenset(uuids), ended), name="meters", daemon=True).start()
    try:
        yield
    finally:
        ended.set()


def _record(folder: Path, uuids: frozenset[str], ended: threading.Event) -> None:
    """Until ``ended``, or until the disk is full: meters are not worth failing for."""
    began = time.monotonic()
    with contextlib.suppress(errors.DiskError), fsio.JsonlWriter(folder / FILE) as file:
        while not ended.is_set():
            readings = read(uuids)
            if ended.is_set():
                return
            file.append({"time": time.time(), "devices": readings})
            ended.wait(max(SECONDS, SHARE * (time.monotonic() - began)))


def read(uuids: frozenset[str]) -> list[dict[str, Any]]:
    """These devices now; what a device does not tell is left out."""
    from ..devices import cpu_device, sample

    found = [cpu_device()] if uuids == {"cpu"} else [device for device in sample() if device.uuid in uuids]
    lines = []
    for device in found:
        line = {
            "id": device.id, "uuid": device.uuid, "utilisation": device.utilisation, "memory_bytes": device.memory_used,
            "memory_total": device.memory_total, "temperature": device.temperature, "power": device.power,
        }  # fmt: skip
        if not device.usable:
            line = {"id": device.id, "uuid": device.uuid, "problem": device.problem}
        lines.append({name: value for name, value in line.items() if value is not None})
    return lines


def summarise(lines: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Of every device of a run: means, extremes, and a history of `HISTORY` readings from the first to the last.

    Returns:
        ``{"id", "uuid", "utilisation" (mean), "peak_memory_bytes", "memory_total", "temperature" (highest), "power" (mean),
        "problem" (of the last reading), "history": [{"time", …}]}``; ``None`` for what the device does not tell.
    """
    readings: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        for device in line.get("devices", []):
            readings.setdefault(device["uuid"], []).append({"time": line["time"], **device})
    return [_summary(rows) for rows in readings.values()]


def _summary(rows: list[dict[str, Any]]) -> dict[str, Any]:
    def told(name: str) -> list[float]:
        return [row[name] for row in rows if name in row]

    def mean(name: str) -> float | None:
        return sum(told(name)) / len(told(name)) if told(name) else None

    step = max(1.0, (len(rows) - 1) / (HISTORY - 1))
    places = sorted({min(len(rows) - 1, round(number * step)) for number in range(min(HISTORY, len(rows)))})
    return {
        "id": rows[-1]["id"], "uuid": rows[-1]["uuid"], "utilisation": mean("utilisation"),
        "peak_memory_bytes": max(told("memory_bytes"), default=None), "memory_total": max(told("memory_total"), default=None),
        "temperature": max(told("temperature"), default=None), "power": mean("power"), "problem": rows[-1].get("problem", ""),
        "history": [{name: rows[place].get(name) for name in ("time", *_READINGS)} for place in places],
    }  # fmt: skip
