"""Runs as lines of text, for the lists that show them."""

from __future__ import annotations

from typing import Any

from textual.content import Content

from .format import NOTHING, clock, duration, figure, human_bytes, human_count, percent
from .glyphs import STATE_STYLES, Glyphs, bar, padded, shorten
from .watching import RunRow


def state_text(state: str, glyphs: Glyphs, trouble: str = "") -> Content:
    """Glyph and word of a state, in its colour; what is wrong takes the place of ``running``."""
    if trouble:
        return Content.styled(f"{glyphs.warning} {trouble}", "$warning")
    return Content.styled(f"{glyphs.states.get(state, '?')} {state}", STATE_STYLES.get(state, "$muted"))


def run_line(row: RunRow, glyphs: Glyphs, width: int, *, marked: bool = False) -> Content:
    """A run in a list: two lines while it is active, one when it has ended."""
    name = max(12, min(28, width - 44))
    style = "$warning" if row.trouble else STATE_STYLES.get(row.state, "$muted")
    head: list[Any] = [
        (glyphs.warning if row.trouble else glyphs.states.get(row.state, "?"), style), (glyphs.marked if marked else " ", "bold $accent"),
        (padded(shorten(row.name, name, glyphs), name), "$foreground"),
        (f" {row.trouble or row.state:<9} ", style), (f"{shorten(row.method or row.kind, 9, glyphs):<9} ", "$muted"),
    ]  # fmt: skip
    room = width - name - 23
    if not row.active:
        return Content.assemble(*head, _ending(row, glyphs, room))
    share = row.step / row.total_steps if row.total_steps else 0.0
    steps = how_far(row)
    if room >= 30:
        steps = f"{bar(share, 10, glyphs)} {percent(share):>5}  {steps}" if row.total_steps else steps
    head.append((steps, "$foreground"))
    return Content.assemble(*head, "\n  ", _progress(row, glyphs, width - 4))


def how_far(row: RunRow, between: str = "/") -> str:
    """What is done of the whole, in steps, or in bytes with their unit."""
    if row.unit == "bytes":
        return human_bytes(row.step) + (f"{between}{human_bytes(row.total_steps)}" if row.total_steps else "")
    if row.total_steps:
        return f"{row.step:,}{between}{row.total_steps:,}"
    return f"{row.step:,}" if between != "/" else f"step {row.step:,}" if row.step else ""


def _progress(row: RunRow, glyphs: Glyphs, room: int) -> Content:
    if row.state == "queued":
        place = f"{row.position}. " if row.position else ""
        return Content.styled(shorten(place + (row.reason or "not launched yet"), room, glyphs), "$muted")
    if row.loss is None:
        return Content.styled(shorten(row.note or row.reason or "getting ready", room, glyphs), "$muted")
    if row.trouble == "stalled":
        return Content.styled(shorten(row.reason, room, glyphs), "$warning")
    parts: list[Any] = [("loss ", "$muted"), (figure(row.loss), "$foreground")]
    if row.fallen:
        parts.append((f" {glyphs.down if row.fallen > 0 else glyphs.up} {abs(row.fallen):.3f}", "$muted"))
    if row.eval_loss is not None:
        parts += [("   eval ", "$muted"), (figure(row.eval_loss), "$foreground")]
    if row.tokens_per_second:
        parts.append((f"   {human_count(row.tokens_per_second)} tok/s", "$muted"))
    if row.seconds_left is not None:
        parts += [("   ETA ", "$muted"), (duration(row.seconds_left), "$foreground")]
    return Content.assemble(*parts)


def _ending(row: RunRow, glyphs: Glyphs, room: int) -> Content:
    """What is worth knowing of a run that has ended."""
    if row.state in ("failed", "lost"):
        return Content.styled(shorten(row.error or row.state, max(8, room), glyphs), "$muted")
    took = duration(row.finished - row.started) if row.finished and row.started else NOTHING
    parts: list[str] = []
    if row.eval_loss is not None:
        base = f" (base {figure(row.base_loss)})" if row.base_loss is not None and room > 48 else ""
        parts.append(f"eval {figure(row.eval_loss)}{base}")
    elif row.loss is not None:
        parts.append(f"loss {figure(row.loss)}")
    parts.append(took)
    text = "   ".join(parts)
    when = clock(row.finished)
    if room >= len(text) + len(when) + 4:
        text = f"{text}   {when}"
    return Content.styled(shorten(text, max(8, room), glyphs) if len(text) > max(8, room) else text, "$muted")


def selected_run(row: RunRow, glyphs: Glyphs) -> Content:
    """The details beside the list."""
    facts: list[tuple[str, str]] = [
        ("run", row.id), ("kind", f"{row.kind} {row.method}".strip()), ("model", row.model or NOTHING),
        (row.unit, how_far(row, " of ")),
        ("loss", figure(row.loss)), ("eval", figure(row.eval_loss)), ("device", row.devices or NOTHING),
        ("created", clock(row.created)), ("took", duration(row.finished - row.started) if row.finished and row.started else NOTHING),
    ]  # fmt: skip
    if row.position:
        facts.insert(1, ("place", f"{row.position} in the queue"))
    lines = [state_text(row.state, glyphs, row.trouble)]
    lines += [pair(name, value) for name, value in facts if value != NOTHING]
    if row.reason and not row.error:
        lines += [Content(""), Content.styled(row.reason, "$foreground")]
    if row.error:
        lines += [Content(""), Content.styled(row.error, "$error")]
    if row.result:
        lines += [Content(""), Content.styled("result", "$muted"), Content.styled(row.result, "$foreground")]
    return Content("\n").join(lines)


def pair(name: str, value: str, width: int = 9) -> Content:
    """A name and its value, in two columns."""
    return Content.assemble((f"{name:<{width}}", "$muted"), (value, "$foreground"))
