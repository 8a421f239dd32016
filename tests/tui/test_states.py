"""Every state of a run, and why it is in it, in words and with a sign: in the list of runs, beside it, and on the run's dashboard."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from finetui.core.fsio import FileLock
from finetui.core.runs import records
from finetui.core.runs.spec import ACTIVE, State
from finetui.tui.app import FineTuiApp
from finetui.tui.glyphs import ASCII, STATE_STYLES, UNICODE
from finetui.tui.widgets.lists import Lines
from support.tui import make_run, opened, painted, until
from textual.pilot import Pilot

STATES = get_args(State)
REASONS: dict[str, tuple[str, ...]] = {
    "queued": ("waiting for a GPU with 12 GiB free", "waiting for GPU 1, taken by run 01K (other)"),
    "starting": ("", "attempt 2, the GPU was in use by others"),
    "running": ("", "adopted: its supervisor had died", "no step for 5 min (usually 2 s)"),
    "stopping": ("asked to stop",),
    "stopped": ("", "interrupted; last checkpoint: step 4", "ended by SIGKILL; no checkpoint"),
    "succeeded": ("",),
    "failed": ("out of memory at step 3", "the job was killed by SIGKILL"),
    "lost": ("the machine was restarted while it ran", "supervisor and job are gone, and left no result"),
}
"""Reasons as core gives them."""


def test_every_state_has_its_signs() -> None:
    for known in (UNICODE.states, ASCII.states, STATE_STYLES, REASONS):
        assert set(known) == set(STATES)
    assert len(set(UNICODE.states.values())) == len(STATES)


@pytest.mark.parametrize("size", [(80, 24), (120, 40)])
async def test_every_state_and_its_reason_are_on_the_screen(tmp_path: Path, size: tuple[int, int]) -> None:
    runs, locks = {}, []
    for state, reasons in REASONS.items():
        for number, reason in enumerate(reasons):
            run = make_run(tmp_path / "home", f"r-{state}-{number}", steps=3)
            error = {"kind": "failed", "message": reason, "hint": "see the log"} if state == "failed" else None
            records.change_state(run.dir, run.state(), state, reason, error=error, finished=None)  # type: ignore[arg-type]
            locks.append(FileLock(records.lock_file(run.dir)))
            assert locks[-1].acquire() or state not in ACTIVE
            runs[run.id] = (run.spec.name, state, reason)
    async with opened(tmp_path / "home", size) as pilot:
        for run_id, (name, state, reason) in runs.items():
            await _look_at(pilot, size, run_id, name, state, reason)
    for lock in locks:
        lock.release()


async def _look_at(pilot: Pilot[int], size: tuple[int, int], run_id: str, name: str, state: str, reason: str) -> None:
    """Choose a run in the list, then open it and come back."""
    app: FineTuiApp = pilot.app  # type: ignore[assignment]
    home, stalled = app.screen, "no step" in reason
    seen = f"{UNICODE.warning} stalled" if stalled else f"{UNICODE.states[state]} {state}"
    home.query_one("#runs", Lines).choose(run_id)
    await until(pilot, lambda: _listed(painted(app), name, *seen.split()), what=f"{name} in the list")
    if size[0] >= 120:
        beside = (_squeezed(seen), _squeezed(reason))
        await until(pilot, lambda: all(words in _squeezed(painted(app), 80) for words in beside), what=f"{seen}, {reason} beside it")
    app.show_run(run_id)
    shown = reason if state != "running" or stalled else ""
    await until(pilot, lambda: seen in painted(app) and shown in painted(app), what=f"{seen}, {shown}")
    await pilot.press("escape")
    await until(pilot, lambda: app.screen is home)


def _listed(text: str, name: str, sign: str, word: str) -> bool:
    """Whether a line of the list has the run with its sign and its word."""
    return any(line.lstrip().startswith(sign) and name in line and word in line for line in text.splitlines())


def _squeezed(text: str, column: int = 0) -> str:
    """What stands right of a column, however it is wrapped."""
    return "".join("".join(line[column:].split()) for line in text.splitlines())
