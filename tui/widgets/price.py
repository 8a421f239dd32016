"""What a run will cost in memory: the peak by part, against what the device has."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from ..format import human_bytes
from ..glyphs import Glyphs, bar, shorten


def price_lines(plan: Any, glyphs: Glyphs, width: int, *, short: bool = False) -> Content:
    """A plan (`core.planner.memory.Plan`) as lines: total with verdict, parts with their share, advice where it does not fit."""
    share = plan.total_bytes / plan.memory_bytes if plan.memory_bytes else 1.0
    verdict = ("fits", "$success", "succeeded") if plan.fits else ("does not fit", "$error", "failed")
    spread = f" (to {human_bytes(plan.high_bytes)})" if plan.high_bytes > plan.total_bytes * 1.1 else ""
    lines = [
        Content.assemble(
            (f"{glyphs.states[verdict[2]]} {verdict[0]}", f"bold {verdict[1]}"), "  ",
            (human_bytes(plan.total_bytes), "bold $foreground"), (spread, "$muted"),
            (f" of {human_bytes(plan.memory_bytes)} free", "$muted"),
        ),
        Content.styled(bar(share, max(10, width - 1), glyphs), "$accent" if plan.fits else "$error"),
    ]  # fmt: skip
    parts = [(name, size) for name, size in sorted(plan.parts.items(), key=lambda part: -part[1]) if size]
    if short:
        lines.append(
            Content.styled(
                shorten(f"  {glyphs.dot} ".join(f"{_words(name)} {human_bytes(size)}" for name, size in parts), width * 2, glyphs), "$muted"
            )
        )
    else:
        lines += [_part(name, size, plan.total_bytes, glyphs, width) for name, size in parts]
        lines.append(
            Content.styled(f"{plan.trainable_parameters:,} of {plan.total_parameters:,} parameters train, in {plan.precision}", "$muted")
        )
    if plan.record.overhead_runs and not short:
        lines.append(Content.styled(f"overhead learned from {plan.record.overhead_runs} runs", "$muted"))
    lines += [Content.styled(f"{glyphs.arrow} {sentence}", "$warning") for sentence in plan.advice]
    return Content("\n").join(lines)


def _part(name: str, size: int, total: int, glyphs: Glyphs, width: int) -> Content:
    filled = glyphs.full * max(1, round(size / total * max(4, width - 26)))
    return Content.assemble((f"{_words(name):<15}", "$muted"), (f"{human_bytes(size):>9} ", "$foreground"), (filled, "$accent"))


def _words(name: str) -> str:
    return name.replace("_", " ")
