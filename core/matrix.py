"""What works where: method × architecture × task, as the tests found it.

``matrix.json`` is written by ``scripts/matrix.py`` from the results of ``tests/matrix``, which train, save, reload and swap every method
on every architecture; the README's table is the same file. No torch here.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import Any

import msgspec

WORKS = "works"


class Matrix(msgspec.Struct, frozen=True):
    """The whole table.

    Attributes:
        architectures: name → the transformers classes it stands for, for people.
        methods: method → architecture → task → ``works``, or the reason for the refusal.
        versions: of the libraries it was found with.
    """

    architectures: dict[str, str]
    methods: dict[str, dict[str, dict[str, str]]]
    versions: dict[str, str] = {}


@cache
def read_matrix() -> Matrix:
    """The table that ships with this version."""
    return msgspec.json.decode((files(__package__ or "finetui.core") / "matrix.json").read_bytes(), type=Matrix)


def rows_of(method: str) -> list[dict[str, Any]]:
    """The table of one method, a row an architecture: ``{architecture, models, <task>: works or why not}``; empty where none is known."""
    matrix = read_matrix()
    found = matrix.methods.get(method, {})
    return [{"architecture": name, "models": matrix.architectures[name], **tasks} for name, tasks in found.items()]
