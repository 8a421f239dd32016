"""Runs outlive the screen: a real training run, started from the screen, goes on when the screen is killed or hung up on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from finetui.core.paths import Home
from finetui.core.runs.identity import is_alive
from finetui.core.runs.store import Run, RunStore
from support.runs import until, wait_for_end
from support.terminal import Terminal

LONG_RUN = """
import sys
from finetui.cli.main import main
from finetui.core.embedded import QUICK_SETTINGS
QUICK_SETTINGS["max_steps"] = 5000
sys.exit(main(sys.argv[1:]))
"""
"""The screen as it is, but what it proposes at first takes long enough to be killed in the middle."""


def the_run(home: Path) -> Run:
    """The only run of a home."""
    return until(lambda: next(iter(RunStore(Home(home)).list()), None), 60, "a run")


def last_step(run: Run) -> int:
    """Steps trained so far."""
    return int(run.last_metrics().get("step", 0))


def test_training_survives_kill_and_hang_up_and_a_new_screen_shows_it_live(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Terminal("--home", str(home), program=[sys.executable, "-c", LONG_RUN, "--home", str(home)]) as first:
        first.until("Nothing has run yet", "Fine-tune the built-in model")
        first.press("\r")
        first.until("New run", "pirate (built in)", "fits", "max_steps=5000")
        first.press("\r")
        first.until("finetui-mini-lora", "running", seconds=120)
        run = the_run(home)
        until(lambda: last_step(run) >= 2, 120, "the first steps")
        first.kill()
    trainer = run.state().job
    assert trainer is not None and is_alive(trainer)
    step = last_step(run)
    until(lambda: last_step(run) > step + 1, 60, "steps after the screen was killed")

    with Terminal("--home", str(home)) as second:
        second.until("finetui-mini-lora", "running", "loss")
        second.press("\r")
        second.until("train loss", "/ 5,000")
        second.hang_up()
        second.process.wait(10)
    assert second.process.returncode == 129
    assert is_alive(trainer)
    step = last_step(run)
    until(lambda: last_step(run) > step + 1, 60, "steps after the terminal was closed")

    with Terminal("--home", str(home)) as third:
        third.until("finetui-mini-lora", "running")
        third.press("\r")
        shown = last_step(run)
        third.until_true(lambda: any(f"{later} / 5,000" in third.text for later in range(shown + 1, shown + 1000)), 60, "later steps")
        third.press("s")
        third.until("stopped", seconds=60)
        third.press("q")
        assert third.process.wait(10) == 0
    assert wait_for_end(run, 60).state == "stopped"
    assert any((run.dir / "checkpoints").iterdir())


def test_terminal_hang_up_ends_the_screen_at_once(tmp_path: Path) -> None:
    with Terminal("--home", str(tmp_path / "home")) as terminal:
        terminal.until("Nothing has run yet")
        os.kill(terminal.process.pid, signal.SIGHUP)
        assert terminal.process.wait(5) == 129
