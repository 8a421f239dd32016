"""Rows of data as training sees them: which text, and which token, carries loss. Told by signs as well as by colour."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any

from textual.content import Content

from .format import plural
from .glyphs import Glyphs, shorten
from .newrun import short_path

if TYPE_CHECKING:
    from ..core.api import Example
    from ..core.data.checking import DataReport, Problem

LEARNED = "bold underline $accent"
"""The style of what carries loss; bold and underline remain where there is no colour."""


def printable(text: str) -> str:
    """``text`` without what a terminal would obey: control characters as their pictures, line ends kept."""
    return "".join(
        character if character == "\n" or character.isprintable() or ord(character) > 0x9F
        else chr(0x2400 + ord(character)) if ord(character) < 0x20 else "\ufffd"
        for character in text
    )  # fmt: skip


def _spans(tokens: Sequence[str], learned: Sequence[bool], glyphs: Glyphs) -> list[tuple[str, str]]:
    """Runs of tokens, those with loss between signs; a line end that carries loss is drawn as well."""
    pieces: list[tuple[str, str]] = []
    for carries, run in groupby(zip(tokens, learned, strict=True), key=lambda pair: pair[1]):
        text = printable("".join(token for token, _ in run))
        if carries:
            body = text.replace("\n", f"{glyphs.line_end}\n")
            pieces += [(glyphs.opens, "$accent"), (body.removesuffix("\n"), LEARNED), (glyphs.closes, "$accent")]
            pieces.append(("\n" if text.endswith("\n") else "", ""))
        else:
            pieces.append((text, "$muted"))
    return pieces


def row_text(row: Mapping[str, Any], glyphs: Glyphs) -> Content:
    """A row of `core.worker.preview.preview` as text, what carries loss marked; the class it is to be told by below."""
    learned = [label != -100 and "label" not in row for label in row["labels"]]
    pieces = _spans(row["tokens"], learned, glyphs)
    if "label" in row:
        pieces.append((f"\n{glyphs.arrow} {glyphs.opens}{printable(row['label'])}{glyphs.closes}", LEARNED))
    return Content.assemble(*pieces)


def row_tokens(row: Mapping[str, Any], glyphs: Glyphs) -> Content:
    """The same token by token: place, whether it carries loss, id, text."""
    lines = []
    for place, (token, ident, label) in enumerate(zip(row["tokens"], row["input_ids"], row["labels"], strict=True)):
        carries = label != -100 and "label" not in row
        text = printable(token.replace("\n", "\\n").replace("\t", "\\t"))
        shown = f"'{text}'" if token else "(part of the next character)"
        mark = f"{glyphs.changed} loss" if carries else ""
        lines.append(
            Content.assemble(
                (f"{place:>5} ", "$faint"),
                (f"{mark:<7}", "$accent"),
                (f"{ident:>7}  ", "$muted"),
                (shown, LEARNED if carries else "$muted"),
            )
        )
    return Content("\n").join(lines)


def row_title(row: Mapping[str, Any]) -> str:
    """How long a row is, and how much of it carries loss."""
    learned = sum(label != -100 for label in row["labels"])
    what = f"the label is {row['label']}" if "label" in row else f"{learned:,} carry loss"
    return f"{plural(len(row['input_ids']), 'token')}, {what}" + (", cut to max_length" if row.get("truncated") else "")


def learns_from(example: Example, loss_on: str, glyphs: Glyphs, width: int) -> Content:
    """An example in a line or two, before any tokenizer is at hand: who says what, and what of it is learned."""
    if example.label is not None:
        text = shorten(printable(example.text), max(8, width - len(example.label) - 6), glyphs)
        return Content.assemble((text, "$muted"), f" {glyphs.arrow} ", (f"{glyphs.opens}{example.label}{glyphs.closes}", LEARNED))
    if example.text:
        return Content.styled(f"{glyphs.opens}{shorten(printable(example.text), width - 4, glyphs)}{glyphs.closes}", LEARNED)
    last = max((place for place, turn in enumerate(example.turns) if turn.role == "assistant"), default=-1)
    pieces: list[tuple[str, str]] = []
    room = max(8, width // max(1, len(example.turns)) - 14)
    for place, turn in enumerate(example.turns):
        carries = loss_on == "all" or (turn.role == "assistant" and (loss_on == "assistant" or place == last))
        text = shorten(printable(turn.content), room, glyphs)
        said = f"{glyphs.opens}{text}{glyphs.closes}" if carries else text
        pieces += [(f"{turn.role}: ", "$faint"), (said, LEARNED if carries else "$muted"), ("  ", "")]
    return Content.assemble(*pieces)


def report_lines(report: DataReport, glyphs: Glyphs) -> Content:
    """What `core.data.checking.check` says: the shape, what repeats, and every problem with its file and line."""
    counted = plural(report.rows, "good row" if report.problem_count else "row")
    lines = [
        Content.assemble(
            (counted, "bold $foreground"), f", {report.format or 'no known format'}",
            (f", columns {', '.join(report.columns)}" if report.columns else "", "$muted"),
        )
    ]  # fmt: skip
    if report.labels:
        shown = ", ".join(f"{name} {count:,}" for name, count in list(report.labels.items())[:8])
        lines.append(Content.styled(f"labels: {shown}", "$muted"))
    for count, what in (
        (report.duplicates, "the same as an earlier row"), (report.conflicts, "with another answer than an earlier row"),
        (report.empty_answers, "with an empty answer"), (report.blank_rows, "blank"),
    ):  # fmt: skip
        if count:
            lines.append(Content.styled(f"{glyphs.warning} {plural(count, 'row')} {what}", "$warning"))
    if report.problem_count:
        lines += [Content(""), Content.styled(f"{glyphs.states['failed']} {plural(report.problem_count, 'problem')}", "bold $error")]
        lines += [_problem(problem) for problem in report.problems]
        if report.problem_count > len(report.problems):
            lines.append(Content.styled(f"and {report.problem_count - len(report.problems):,} more", "$muted"))
    return Content("\n").join(lines)


def _problem(problem: Problem) -> Content:
    hint = f"\n  {problem.hint}" if problem.hint else ""
    return Content.assemble((short_path(problem.source), "$foreground"), (f": {printable(problem.message)}", "$error"), (hint, "$muted"))
