"""Questions before what cannot be undone; never asked without a terminal."""

from __future__ import annotations

import sys

import click

from ..core.errors import UsageError
from .command import App


def confirmed(app: App, question: str, yes: bool) -> None:
    """Return when the user agrees; ``--yes`` agrees beforehand.

    Raises:
        UsageError: there is nobody to ask (``--json`` or no terminal).
        click.Abort: the answer is no.
    """
    if yes:
        return
    if app.json or not sys.stdin.isatty():
        raise UsageError(f"would ask: {question}", "add --yes to agree")
    click.confirm(question, abort=True, err=True)
