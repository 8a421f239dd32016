"""``finetui doctor``: what works on this machine, what does not, and why."""

from __future__ import annotations

import click
import msgspec

from ..core.doctor import checks
from .command import App, command
from .output import narrate, write_json

_GLYPHS = {"ok": "ok  ", "warn": "warn", "fail": "FAIL"}


@command("doctor")
def doctor(app: App) -> None:
    """GPUs, drivers, torch, bitsandbytes, disk, Hub login, plugins; exits 1 when something that is needed fails."""
    rows = checks(app.home_as_named)
    if app.json:
        write_json([msgspec.to_builtins(row) for row in rows])
    for row in rows if not app.json else []:
        click.echo(f"{_GLYPHS[row.state]}  {row.name:<18} {row.detail}")
        if row.hint:
            narrate(f"      {row.hint}")
    if any(row.state == "fail" for row in rows):
        click.get_current_context().exit(1)
