"""What the meters of a run's devices have shown, from its start until now, as lines with a graph each."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any

from .format import NOTHING, clock, human_bytes
from .glyphs import Glyphs, shorten, spark
from .widgets.axes import Runs

READINGS = ("utilisation", "memory_bytes", "temperature", "power")
_NAMES, _WORDS = 14, 24
"""Cells of a meter's name and of its figures."""


class Meter:
    """One device's readings. 40 bytes each.

    Attributes:
        last: the last one, as ``devices.jsonl`` has it.
        times: seconds since the epoch.
    """

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.times = array("d")
        self._values = {name: array("d") for name in READINGS}

    def take(self, time: float, reading: dict[str, Any]) -> None:
        """One more reading; what it does not tell is a gap."""
        self.last = reading
        self.times.append(time)
        for name, values in self._values.items():
            values.append(reading.get(name, math.nan))

    def recent(self, name: str, count: int) -> list[float]:
        """The last readings of one meter, not a number where there is none."""
        return list(self._values[name][-count:])

    def told(self, name: str) -> list[float]:
        """Every reading there is of one meter."""
        return [value for value in self._values[name] if value == value]

    def buckets(self, name: str, count: int) -> list[float]:
        """The mean of a meter in each of ``count`` equal parts of the time, not a number where nothing was read."""
        if not self.times:
            return []
        first, width = self.times[0], (self.times[-1] - self.times[0]) / count or 1.0
        ends = [bisect_left(self.times, first + width * number) for number in range(1, count)] + [len(self.times)]
        means = []
        for start, stop in zip([0, *ends], ends):
            part = [value for value in self._values[name][start:stop] if value == value]
            means.append(sum(part) / len(part) if part else math.nan)
        return means


def device_name(reading: Mapping[str, Any]) -> str:
    """``CPU`` or ``GPU 3``."""
    return reading["id"].upper() if reading["uuid"] in ("cpu", "mps") else f"GPU {reading['id']}"


def meter_lines(meters: Mapping[str, Meter], glyphs: Glyphs, width: int) -> list[Runs]:
    """A device's name, then a line a meter: how much it was, and its graph over the whole time of the run."""
    lines: list[Runs] = []
    for meter in meters.values():
        last = meter.last
        lines.append([(device_name(last), "title")])
        if "problem" in last:
            lines[-1].append((f"  {shorten(last['problem'], max(10, width - 10), glyphs)}", "bad"))
        graph = max(6, min(len(meter.times), width - _NAMES - _WORDS))
        for name, title, words, full in _meters(meter):
            drawn = spark(meter.buckets(name, graph), graph, glyphs, full=full)
            lines.append([(f"  {title:<{_NAMES - 2}}", "dim"), (f"{words:<{_WORDS}}", ""), (drawn, "graph")])
        if len(meter.times) > 1:
            start, end = clock(meter.times[0]), clock(meter.times[-1])
            gap = max(1, graph - len(start) - len(end))
            lines.append([(" " * (_NAMES + _WORDS) + start + " " * gap + end, "dim")])
    return lines


def _meters(meter: Meter) -> list[tuple[str, str, str, float]]:
    """(key, title, figures in words, top of the graph) of each meter that was read."""
    found = []
    told = {name: values for name in READINGS if (values := meter.told(name))}
    for name, values in told.items():
        now = meter.last.get(name)
        if name == "utilisation":
            words = f"{_number(now)} %, mean {sum(values) / len(values):.0f} %"
            found.append((name, "busy", words, 100.0))
        elif name == "memory_bytes":
            top = float(meter.last.get("memory_total") or max(values))
            found.append((name, "memory", f"{human_bytes(now)}, peak {human_bytes(max(values))}", top))
        else:
            unit = "°C" if name == "temperature" else "W"
            found.append((name, name, f"{_number(now)} {unit}, peak {max(values):.0f} {unit}", max(values) * 1.1 or 1.0))
    return found


def _number(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.0f}"
