"""Numbers and times as people read them: right units, three significant places, no surprises for missing values."""

from __future__ import annotations

import math
import time

NOTHING = "–"


def human_bytes(count: float | None) -> str:
    """``8_800_000`` → ``8.8 MB`` (decimal units, as disks and `nvidia-smi` tables use)."""
    if count is None:
        return NOTHING
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "B" or abs(count) >= 99.95 else f"{count:.1f} {unit}"


def human_count(count: float | None) -> str:
    """``18_204`` → ``18.2k``, ``6_200_000`` → ``6.2M``."""
    if count is None:
        return NOTHING
    for unit in ("", "k", "M", "B", "T"):
        if abs(count) < 999.5 or unit == "T":
            break
        count /= 1000
    return f"{count:.0f}{unit}" if unit == "" or abs(count) >= 99.95 else f"{count:.1f}{unit}"


def duration(seconds: float | None) -> str:
    """``840`` → ``14 min``; seconds below two minutes, hours with minutes above one, days above two."""
    if seconds is None or not math.isfinite(seconds):
        return NOTHING
    seconds = max(0.0, seconds)
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    if minutes < 48 * 60:
        return f"{minutes // 60} h {minutes % 60:02d}"
    return f"{minutes // 1440} d {minutes % 1440 // 60} h"


def swap_time(seconds: float | None) -> str:
    """A swap's time with enough places to be worth showing: ``0.004 ms``, ``2.8 ms``."""
    if seconds is None:
        return NOTHING
    milliseconds = seconds * 1000
    return f"{milliseconds:.3f} ms" if milliseconds < 0.1 else f"{milliseconds:.1f} ms"


def figure(value: float | None, places: int = 3) -> str:
    """A loss or norm: fixed places in the usual range, scientific outside it."""
    if value is None:
        return NOTHING
    if not math.isfinite(value):
        return str(value)
    if value != 0 and not 1e-3 <= abs(value) < 1e4:
        return scientific(value)
    return f"{value:.{places}f}"


def scientific(value: float | None) -> str:
    """``0.00014`` → ``1.4e-4``."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    mantissa, exponent = f"{value:.1e}".split("e")
    return f"{mantissa.removesuffix('.0')}e{int(exponent)}"


def percent(share: float | None) -> str:
    """``0.343`` → ``34 %``."""
    return NOTHING if share is None or not math.isfinite(share) else f"{share * 100:.0f} %"


def clock(moment: float | None) -> str:
    """Local time of day for today's moments, the date for others; ``moment`` in seconds since the epoch."""
    if not moment:
        return NOTHING
    then, now = time.localtime(moment), time.localtime()
    return time.strftime("%H:%M:%S" if then[:3] == now[:3] else "%Y-%m-%d %H:%M", then)


def plural(count: int, noun: str, several: str = "") -> str:
    """``1 run``, ``2 runs``; ``several`` where the word takes more than an s."""
    return f"{count:,} {noun if count == 1 else several or noun + 's'}"
