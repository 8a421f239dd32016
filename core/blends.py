"""Blends of adapters in words: ``tone=0.7 pirate=0.3``."""

from __future__ import annotations

import math
from collections.abc import Mapping

from .errors import Incompatible, UsageError


def parse_blend(text: str) -> dict[str, float]:
    """Weights by name, parted by blanks, commas or both; a name alone has weight 1.

    Raises:
        UsageError: nothing is named, a name occurs twice, or a weight is not a finite number.
    """
    weights: dict[str, float] = {}
    for part in text.replace(",", " ").split():
        name, equals, number = part.rpartition("=")  # a name may hold an equals sign, a number cannot
        name, number = (name, number) if equals else (part, "1")
        if not name or name in weights:
            raise UsageError(f"{part}: {'named twice' if name else 'no adapter is named'}", _EXAMPLE)
        weights[name] = _weight(part, number)
    if not weights:
        raise UsageError("a blend needs adapters and their weights", _EXAMPLE)
    return weights


def blend_text(weights: Mapping[str, float]) -> str:
    """The words that `parse_blend` reads."""
    return " ".join(f"{name}={weight:g}" for name, weight in weights.items())


def blend_refusal(name: str, kind: str, reason: str) -> Incompatible:
    """The error of an adapter that cannot be weighed (`LoadedAdapter.no_blend` is the reason)."""
    return Incompatible(f"'{name}' ({kind}) cannot be blended: {reason}", "blend LoRA and its relatives; swap to this one instead")


_EXAMPLE = "for example tone=0.7 pirate=0.3; weights need not sum to 1 and may be negative"


def _weight(part: str, number: str) -> float:
    try:
        weight = float(number)
    except ValueError:
        weight = math.nan
    if not math.isfinite(weight):
        raise UsageError(f"{part}: '{number}' is not a finite number", _EXAMPLE)
    return weight
