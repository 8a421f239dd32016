"""The prompt library: one Markdown file in the home directory that people edit as they like.

    Anything before the first heading is a note to yourself.

    ## capital
    What is the capital of France?

    ## review
    Read this code and list its mistakes:
    ...

A line that begins with ``## `` starts a prompt and is its name; the text below it, without blank lines at its ends, is what is sent.
A line of a prompt that itself begins with ``## `` has a backslash before it: ``\\## ``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .errors import UsageError
from .fsio import disk_errors, write_bytes
from .paths import Home

_HEADING = "## "
_ESCAPED = re.compile(r"^\\(?=\\*## )", re.MULTILINE)
_TO_ESCAPE = re.compile(r"^(?=\\*## )", re.MULTILINE)
_PREAMBLE = """\
Prompts for FineTUI's playground. A line that begins with two # and a blank starts one and is its name; the text below it is
what is sent. A line of a prompt that begins like that itself has a backslash before it. This text is a note, change it as you like.
"""


@dataclass(frozen=True)
class Prompt:
    """A saved prompt."""

    name: str
    text: str


def read_prompts(home: Home) -> list[Prompt]:
    """The saved prompts in the file's order; none where there is no file.

    Raises:
        DiskError: the file cannot be read.
    """
    return [Prompt(name, _text(lines)) for name, lines in _sections(_read(home)) if name]


def save_prompt(home: Home, name: str, text: str) -> None:
    """Add a prompt at the end of the file, or give the one of this name another text; the rest of the file stays as it is.

    Raises:
        UsageError: the name or the text is empty, or the name has several lines.
        DiskError: the file cannot be read or written.
    """
    name, text = name.strip(), text.strip("\n")
    if not name or len(name.splitlines()) > 1 or not text.strip():
        raise UsageError("a saved prompt needs a name of one line and a text", "for example: capital")
    sections = _sections(_read(home) or _PREAMBLE)
    lines = [*_TO_ESCAPE.sub(r"\\", text).split("\n"), ""]
    known = next((number for number, (one, _) in enumerate(sections) if one == name), None)
    if known is None:
        last = sections[-1][1]
        if last and last[-1].strip():
            last.append("")
        sections.append((name, lines))
    else:
        sections[known] = (name, lines)
    said = [line for one, body in sections for line in ([f"{_HEADING}{one}"] if one else []) + body]
    write_bytes(home.prompts, ("\n".join(said).rstrip("\n") + "\n").encode())


def _read(home: Home) -> str:
    with disk_errors(home.prompts):
        return home.prompts.read_text(encoding="utf-8", errors="replace") if home.prompts.exists() else ""


def _sections(content: str) -> list[tuple[str, list[str]]]:
    """(name, lines) of every heading; first what stands before them all, under no name."""
    sections: list[tuple[str, list[str]]] = [("", [])]
    for line in content.removeprefix("\ufeff").splitlines():
        if line.startswith(_HEADING) and line[len(_HEADING) :].strip():
            sections.append((line[len(_HEADING) :].strip(), []))
        else:
            sections[-1][1].append(line)
    return sections


def _text(lines: list[str]) -> str:
    return _ESCAPED.sub("", "\n".join(lines).strip("\n"))
