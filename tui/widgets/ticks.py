"""Round numbers along an axis, and how they are written. No Textual here."""

from __future__ import annotations

import math


def rounded_end(first: float, last: float) -> float:
    """A little beyond ``last``, the same for many steps: while it stands, only the end of the curve changes."""
    grain = 2.0 ** math.floor(math.log2(max(last - first, 16.0))) / 8
    return first + math.ceil(max(last - first, 1.0) / grain) * grain


def rounded_range(low: float, high: float) -> tuple[float, float]:
    """A little beyond both ends, the same for most new values."""
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        room = abs(high) * 0.05 or 0.5
        return low - room, high + room
    grain = 2.0 ** math.floor(math.log2(high - low)) / 16
    return (math.floor(low / grain) - 0.5) * grain, (math.ceil(high / grain) + 0.5) * grain


def ticks(low: float, high: float, count: int) -> list[float]:
    """At most ``count`` + 1 round numbers (1, 2 or 5 times a power of ten apart) between ``low`` and ``high``."""
    if not (math.isfinite(low) and math.isfinite(high)) or high <= low or count < 1:
        return [low] if math.isfinite(low) else []
    raw = (high - low) / count
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    found = []
    while first * step <= high + step * 1e-9:
        found.append(first * step)
        first += 1
    return found


def log_ticks(low: float, high: float, count: int) -> list[float]:
    """The same for an axis of powers of ten: powers alone where there are many, with their 2 and 5 where there are few.

    Args:
        low, high: values, above 0; ticks are values, too.
    """
    bottom, top = math.log10(low), math.log10(high)
    if top - bottom < 0.5:
        return ticks(low, high, count)
    every = max(1, math.ceil((top - bottom) / count))
    factors = (1, 2, 5) if (top - bottom) * 3 <= count else (1,)
    powers = (power for power in range(math.floor(bottom), math.ceil(top) + 1) if power % every == 0)
    found = [factor * 10.0**power for power in powers for factor in factors]
    return [value for value in found if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)] or ticks(low, high, count)


def tick_label(value: float, step: float) -> str:
    """A tick's value with just the places that its step needs: ``0.5``, ``1.2k``, ``3.5M``, ``1e-4``."""
    if not math.isfinite(value) or step <= 0:
        return f"{value:g}"
    if abs(value) < step * 1e-6:
        return "0" if step >= 1 or step < 1e-3 else f"{0:.{_places(step)}f}"
    size = math.floor(math.log10(abs(value)) + 1e-9)
    if size >= 12 or (step < 1e-3 and abs(value) < 0.1):
        mantissa, exponent = f"{value:.{max(0, size - math.floor(math.log10(step) + 1e-9))}e}".split("e")
        return f"{_trimmed(mantissa)}e{int(exponent)}"
    for unit, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= unit:
            return _trimmed(f"{value / unit:.{_places(step / unit)}f}") + letter
    return f"{value:.{_places(step)}f}"


def _trimmed(number: str) -> str:
    return number.rstrip("0").rstrip(".") if "." in number else number


def _places(step: float) -> int:
    return max(0, -math.floor(math.log10(step) + 1e-9))
