"""The methods that could train a model, as lines to choose from."""

from __future__ import annotations

from textual.content import Content

from .asking import MethodRow
from .format import human_bytes, human_count
from .glyphs import Glyphs, padded, shorten

NAME = 18
"""Cells of a method's name; peft's are shortened."""

HEAD = f"   {'method':<{NAME}} {'':<9} {'memory':>9} {'trains':>7} {'speed':>6}"


def standing(row: MethodRow) -> tuple[str, str, str]:
    """How a method stands with the model: (state whose sign it has, word, style)."""
    if row.refusal:
        return "failed", "refused", "$error"
    if row.ranked is None:
        return "lost", "unknown", "$muted"
    if row.ranked.fits:
        return "succeeded", "fits", "$success"
    return ("stopped", "can fit", "$warning") if row.ranked.settings else ("failed", "too big", "$error")


def method_line(row: MethodRow, marked: bool, glyphs: Glyphs, width: int) -> Content:
    """Mark, name, whether it fits, memory, parameters that train, expected speed; then when it is a good choice, where there is room."""
    state, word, style = standing(row)
    ranked = row.ranked
    figures = (
        f" {human_bytes(ranked.total_bytes):>9} {human_count(ranked.trainable_parameters):>7} {ranked.relative_speed:>5.1f}x"
        if ranked
        else " " * 25
    )
    known = bool(ranked or row.refusal)
    line = Content.assemble(
        (f"{glyphs.marked if marked else ' '} ", "bold $accent"), (padded(shorten(row.name, NAME, glyphs), NAME), "$foreground"),
        " ", (f"{glyphs.states[state]} {word:<7}" if known else " " * 9, style if known else "$muted"), (figures, "$foreground"),
    )  # fmt: skip
    room = width - line.cell_length - 2
    return line if room < 16 else Content.assemble(line, "  ", (shorten(row.refusal or row.good_for, room, glyphs), "$muted"))


def why(row: MethodRow) -> Content:
    """When the method is a good choice, what it costs compared with full fine-tuning, and what would make it fit."""
    parts = [Content.assemble((row.name, "bold $accent"), (f"  {row.title}" if row.title.lower() != row.name else "", "$muted"))]
    if row.refusal:
        parts.append(Content.styled(row.refusal, "$error"))
    parts.append(Content(row.good_for))
    ranked = row.ranked
    if ranked:
        share = ranked.trainable_parameters / max(1, ranked.total_parameters)
        speed = "measured in runs here" if ranked.speed_from == "runs" else "expected"
        rate = f", {ranked.tokens_per_second:,.0f} tokens/s" if ranked.tokens_per_second else ""
        said = f"Trains {share:.2%} of the parameters at {ranked.relative_speed:.1f}x the speed of full ({speed}{rate})."
        parts.append(Content.styled(said, "$muted"))
        parts += [Content.styled(f"It does not fit; {sentence}.", "$warning") for sentence in ranked.advice]
    elif not row.refusal:
        parts.append(Content.styled("Its memory is planned once it is chosen.", "$muted"))
    return Content("\n").join(parts)
