"""How answers are written: declared once, for the flags of ``chat`` and ``generate``, the screen's pane and the worker."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .options import option, to_dict


@dataclass(frozen=True)
class Sampling:
    """How tokens are chosen, and how many."""

    max_new_tokens: int = option(128, "Longest answer.", minimum=1, unit="tokens")
    temperature: float = option(0.0, "0 takes the most probable token every time; higher is more varied.", minimum=0.0, maximum=100.0)
    top_p: float = option(1.0, "Only the most probable tokens that together have this share.", minimum=0.0, maximum=1.0)
    top_k: int = option(0, "Only so many of the most probable tokens; 0: all.", minimum=0)
    repetition_penalty: float | None = option(
        None,
        "Above 1 what was there already becomes less probable; none: as the model's own configuration says.",
        minimum=0.01,
        maximum=10.0,
    )
    seed: int = option(0, "Of the random choices.", minimum=0, maximum=2**63 - 1)


def changes(sampling: Sampling) -> str:
    """What differs from the defaults, in words: ``temperature 0.7, top_p 0.9``; empty where nothing does."""
    return ", ".join(f"{name} {value:g}" if isinstance(value, float) else f"{name} {value}" for name, value in changed(sampling).items())


def changed(sampling: Sampling) -> Mapping[str, object]:
    """The values that differ from the defaults, by name."""
    return to_dict(sampling, changed_only=True)
