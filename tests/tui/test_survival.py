"""Runs outlive the screen: a real training run, started from the screen, goes on when the screen is killed or hung up on."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from finetui.core.paths import Home
from finetui.core.runs.identity import is_alive
from finetui.core.runs.identity import wait_for_end as wait_for_process
from finetui.core.runs.store import Run, RunStore
from support import ssh
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


def start_training(screen: Terminal, home: Path) -> Run:
    """Start what an empty home proposes; returns once it trains."""
    screen.until("Nothing has run yet", "Fine-tune the built-in model", seconds=60)
    screen.press("\r")
    screen.until("New run", "pirate (built in)", "fits", "max_steps=5000", seconds=60)
    screen.press("\r")
    screen.until("finetui-mini-lora", "running", seconds=120)
    run = the_run(home)
    until(lambda: last_step(run) >= 2, 120, "the first steps")
    return run


def check_goes_on(run: Run) -> None:
    """The same trainer lives, and trains."""
    trainer, step = run.state().job, last_step(run)
    assert trainer is not None and is_alive(trainer) and run.state().attempt == 1
    until(lambda: last_step(run) > step + 1, 60, "steps without a screen")


def see_live_and_stop(screen: Terminal, run: Run) -> None:
    """The run's dashboard shows steps as they come, and stops it."""
    screen.until("finetui-mini-lora", "running", seconds=60)
    screen.press("\r")
    shown = last_step(run)
    screen.until_true(lambda: any(f"{later} / 5,000" in screen.text for later in range(shown + 1, shown + 1000)), 60, "later steps")
    screen.press("s")
    screen.until("stopped", seconds=60)
    assert wait_for_end(run, 60).state == "stopped"
    assert any((run.dir / "checkpoints").iterdir())


def test_training_survives_kill_and_hang_up_and_a_new_screen_shows_it_live(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Terminal(program=[sys.executable, "-c", LONG_RUN, "--home", str(home)]) as first:
        run = start_training(first, home)
        first.kill()
    check_goes_on(run)

    with Terminal("--home", str(home)) as second:
        second.until("finetui-mini-lora", "running", "loss")
        second.press("\r")
        second.until("train loss", "/ 5,000")
        second.hang_up()
        second.process.wait(10)
    assert second.process.returncode == 129
    check_goes_on(run)

    with Terminal("--home", str(home)) as third:
        see_live_and_stop(third, run)
        third.press("q")
        assert third.process.wait(10) == 0


def test_training_survives_a_lost_connection_and_is_live_after_the_next_login(tmp_path: Path) -> None:
    """Over a real sshd, from an interactive shell, as people do it."""
    home = tmp_path / "home"
    start = ssh.script(tmp_path / "start", [sys.executable, "-c", LONG_RUN, "--home", str(home)])
    look = ssh.script(tmp_path / "look", [sys.executable, "-m", "finetui", "--home", str(home)])
    with ssh.loopback_sshd(tmp_path / "ssh") as login:
        with Terminal(program=login) as first:
            first.press(f"{start}\r")
            run = start_training(first, home)
            screen = ssh.process_of(start)
            first.kill()
        assert wait_for_process(screen, 30), "the screen outlives its connection"
        check_goes_on(run)
        with Terminal(program=login) as second:
            second.press(f"{look}\r")
            see_live_and_stop(second, run)
            screen = ssh.process_of(look)
            second.press("q")
            second.until_true(lambda: not is_alive(screen), what="the screen's end")


def test_terminal_hang_up_ends_the_screen_at_once(tmp_path: Path) -> None:
    with Terminal("--home", str(tmp_path / "home")) as terminal:
        terminal.until("Nothing has run yet")
        os.kill(terminal.process.pid, signal.SIGHUP)
        assert terminal.process.wait(5) == 129
