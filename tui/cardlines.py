"""A model card as lines of styled text: headings, lists, tables and code, without leaving what a terminal can show."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rich.cells import cell_len
from textual.content import Content

from .glyphs import Glyphs, padded
from .runlines import pair

_FACTS = ("license", "base_model", "pipeline_tag", "library_name", "datasets", "language", "tags")
_HEADING = re.compile(r"#{1,6}\s+(?P<text>.*)")
_ITEM = re.compile(r"(?P<indent>\s*)[-*+]\s+(?P<text>.*)")
_LINK = re.compile(r"!?\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]*)[^)]*\)")
_MARKS = re.compile(r"\*\*|__|`|<[^>]+>")
_DIVIDER = re.compile(r"[\s|:-]+")


def card_lines(facts: Mapping[str, Any], body: str, glyphs: Glyphs) -> Content:
    """A card to be read.

    Args:
        facts: its front matter; only what helps to choose is shown.
        body: its Markdown.
    """
    lines = [pair(key, _words(facts[key]), 14) for key in _FACTS if facts.get(key)]
    if lines:
        lines.append(Content(""))
    table: list[list[str]] = []
    fenced = False
    for line in [*body.split("\n"), ""]:
        if not fenced and line.lstrip().startswith("|"):
            if not _DIVIDER.fullmatch(line):
                table.append([_plain(cell) for cell in line.strip().strip("|").split("|")])
            continue
        lines += _columns(table)
        table = []
        if line.lstrip().startswith("```"):
            fenced = not fenced
        elif fenced:
            lines.append(Content.styled("  " + line, "$muted"))
        else:
            lines.append(_line(line, glyphs))
    return Content("\n").join(lines[:-1])


def _line(line: str, glyphs: Glyphs) -> Content:
    if heading := _HEADING.fullmatch(line):
        return Content.styled(_plain(heading["text"]), "bold $foreground")
    if item := _ITEM.fullmatch(line):
        return Content.assemble(item["indent"], (f"{glyphs.dot} ", "$muted"), _plain(item["text"]))
    return Content(_plain(line))


def _columns(rows: list[list[str]]) -> list[Content]:
    """A table, its cells padded to the width of their column."""
    count = max((len(row) for row in rows), default=0)
    widths = [max((cell_len(row[column]) for row in rows if column < len(row)), default=0) for column in range(count)]
    return [
        Content.styled("  ".join(padded(cell, width) for cell, width in zip(row, widths)).rstrip(), "" if number else "bold $muted")
        for number, row in enumerate(rows)
    ]


def _plain(text: str) -> str:
    """Words without the marks of Markdown and HTML; of a link its text, where it has one."""
    return _MARKS.sub("", _LINK.sub(lambda link: link["text"] or link["target"], text)).strip()


def _words(value: Any) -> str:
    return ", ".join(str(item) for item in value) if isinstance(value, list) else str(value)
