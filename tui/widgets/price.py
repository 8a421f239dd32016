"""What a run will cost in memory: the peak by part, against what each device has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from ..format import human_bytes
from ..glyphs import Glyphs, padded, shorten

Piece = tuple[str, str]
"""A text and its style."""


def price_lines(priced: Any, glyphs: Glyphs, width: int, *, short: bool = False, way_out: str = "") -> Content:
    """Prices (`tui.asking.Priced`) of one run as lines: verdict, a bar for each kind of device, the parts, what it waits for, advice.

    Args:
        short: for a pane of four lines.
        way_out: said where it does not fit.
    """
    plan = priced.best
    lines = [_verdict(plan, glyphs)]
    parts = sorted(((name, size) for name, size in plan.parts.items() if size), key=lambda part: -part[1])
    lines += _bars([(price.title, price.plan) for price in priced.prices], glyphs, width)
    if short:
        words = f"  {glyphs.dot} ".join(f"{_words(name)} {human_bytes(size)}" for name, size in parts)
        room = width * 2 - 2 if plan.fits else width - 1  # what would fit is worth more of the few lines than the parts
        lines.append(Content.styled(shorten(words, room, glyphs), "$muted"))
    else:
        lines += [_part(number, name, size, plan.total_bytes, glyphs, width) for number, (name, size) in enumerate(parts)]
        lines.append(
            Content.styled(f"{plan.trainable_parameters:,} of {plan.total_parameters:,} parameters train, in {plan.precision}", "$muted")
        )
        if plan.record.overhead_runs:
            lines.append(Content.styled(f"overhead learned from {plan.record.overhead_runs} runs", "$muted"))
    if priced.waits_for:
        lines.append(Content.styled(f"{glyphs.states['queued']} would wait for {priced.waits_for}", "$warning"))
    if not plan.fits and not short:
        lines.append(Content.styled(way_out, "$accent"))
    lines += [Content.styled(f"{glyphs.arrow} {sentence}", "$warning") for sentence in plan.advice]
    return Content("\n").join(lines)


def compared_lines(priced: Any, glyphs: Glyphs, width: int) -> Content:
    """Prices of several methods, the largest first: each with its own bar, or why it cannot be trained."""
    lines = _bars([(price.title, price.plan) for price in priced.prices if price.plan], glyphs, width, sizes=True)
    for price in priced.prices:
        if price.problem:
            lines.append(Content.styled(f"{glyphs.states['failed']} {price.title}: {price.problem.message}", "$error"))
    return Content("\n").join(lines)


def _verdict(plan: Any, glyphs: Glyphs) -> Content:
    word, style, state = ("fits", "$success", "succeeded") if plan.fits else ("does not fit", "$error", "failed")
    spread = f" (to {human_bytes(plan.high_bytes)})" if plan.high_bytes > plan.total_bytes * 1.1 else ""
    return Content.assemble(
        (f"{glyphs.states[state]} {word}", f"bold {style}"), "  ",
        (human_bytes(plan.total_bytes), "bold $foreground"), (spread, "$muted"), (f" of {human_bytes(plan.memory_bytes)} free", "$muted"),
    )  # fmt: skip


def _bars(rows: Sequence[tuple[str, Any]], glyphs: Glyphs, width: int, *, sizes: bool = False) -> list[Content]:
    """A bar a row: its title, the plan's parts against the memory there is, and how much of it that is."""
    names = min(14, max((cell_len(title) for title, _ in rows), default=0))
    lines = []
    for title, plan in rows:
        share = plan.total_bytes / plan.memory_bytes if plan.memory_bytes else 1.0
        said = f" {human_bytes(plan.total_bytes):>8}" if sizes else f" {share * 100:.0f} %".rjust(6)
        sign = glyphs.states["succeeded" if plan.fits else "failed"]
        room = max(6, width - names - cell_len(said) - cell_len(sign) - 4)
        lines.append(
            Content.assemble(
                (padded(shorten(title, names, glyphs), names), "$foreground"),
                " ",
                *stack(plan.parts, plan.memory_bytes, room, glyphs),
                (said, "$foreground"),
                (f" {sign}", "$success" if plan.fits else "$error"),
            )  # fmt: skip
        )
    return lines


def stack(parts: Mapping[str, int], capacity: int, width: int, glyphs: Glyphs) -> list[Piece]:
    """A bar of ``width`` cells: the parts one after another, the largest first, neighbours in two shades and heights, then what stays
    empty. Where they are more than ``capacity``, a rule marks how much there is."""
    total = sum(parts.values())
    scale = width / max(total, capacity, 1)
    cells: list[Piece] = []
    done, end = 0, 0.0
    for number, size in enumerate(sorted(filter(None, parts.values()), reverse=True)):
        end += size * scale
        mark, style = _look(number, glyphs)
        reach = max(1, round(end))  # something is always seen
        cells += [(mark, style if total <= capacity else "$error")] * (reach - done)
        done = reach
    cells += [(glyphs.empty, "$faint")] * (width - done)
    if total > capacity:
        cells[min(width - 1, round(capacity * scale))] = (glyphs.axis_line, "bold $foreground")
    return cells


def _look(number: int, glyphs: Glyphs) -> Piece:
    """How a part is drawn, by its place in the order."""
    return (glyphs.full, "$accent") if number % 2 == 0 else (glyphs.other, "$muted")


def _part(number: int, name: str, size: int, total: int, glyphs: Glyphs, width: int) -> Content:
    mark, style = _look(number, glyphs)
    filled = mark * max(1, round(size / total * max(4, width - 26)))
    return Content.assemble((f"{_words(name):<15}", "$muted"), (f"{human_bytes(size):>9} ", "$foreground"), (filled, style))


def _words(name: str) -> str:
    return name.replace("_", " ")
