"""The app as a process: what it imports, what it writes when idle, how it ends, and what it does with errors."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from finetui.core.errors import DiskError
from finetui.core.paths import Home
from finetui.tui.screens.home import HomeScreen
from finetui.tui.watching import DevicesChanged, RunsChanged
from rich.cells import cell_len
from support.terminal import Terminal
from support.tui import make_run, opened, painted, until, until_painted

HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate", "bitsandbytes")

PAINT_EVERYTHING = """
import asyncio, sys
from pathlib import Path
from finetui.core.config import Settings
from finetui.core.paths import Home
from finetui.tui.app import FineTuiApp

async def main():
    app = FineTuiApp(Home(Path(sys.argv[1])).create(), Settings())
    async with app.run_test(size=(100, 30)) as pilot:
        for key in ("2", "4", "5", "8", "9", "1", "n", "question_mark", "escape", "escape"):
            await pilot.press(key)
            await pilot.pause(0.5)
    print([name for name in %r if name in sys.modules])

asyncio.run(main())
"""


def test_painting_imports_no_torch(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", PAINT_EVERYTHING % (HEAVY,), str(tmp_path / "home")], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"


def test_starting_imports_nothing_that_can_wait() -> None:
    code = "import sys, finetui.tui.app, finetui.tui.screens.home; print([n for n in sys.argv[1:] if n in sys.modules])"
    waits = [*HEAVY, "pyarrow", "huggingface_hub", "pynvml", "numpy", "safetensors", "sqlite3", "jinja2", "markdown_it"]
    done = subprocess.run([sys.executable, "-c", code, *waits], capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "[]", done.stderr


def test_idle_screen_writes_nothing_and_quits_clean(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    with Terminal("--home", str(tmp_path / "home")) as terminal:
        terminal.until("good", "succeeded", "Devices")
        terminal.read(2.0)
        assert terminal.read(3.0) == 0
        terminal.press("\r")
        terminal.until("train loss")
        terminal.read(2.0)
        assert terminal.read(2.0) == 0
        terminal.press("q")
        assert terminal.process.wait(10) == 0


@pytest.mark.parametrize("term", ["screen", "linux", "xterm-256color", "vt100"])
def test_terminals(tmp_path: Path, term: str) -> None:
    with Terminal(
        "--home", str(tmp_path / "home"), columns=80, rows=24, environment={"TERM": term, "COLORTERM": "", "LC_ALL": "C"}
    ) as terminal:
        terminal.until("FineTUI", "Nothing has run yet", "? Help")
        terminal.press("q")
        assert terminal.process.wait(10) == 0


async def test_errors_of_core_become_a_dialog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetui.tui import backend

    def full(*_: object) -> None:
        raise DiskError("/home/x: No space left on device", "free some space")

    monkeypatch.setattr(backend, "read_catalog", full)
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("2")
        await until_painted(pilot, "✖ disk", "No space left on device", "free some space")
        await pilot.press("y")
        assert pilot.app.clipboard == "error: /home/x: No space left on device\nhint: free some space"
        await pilot.press("escape", "1")
        await until_painted(pilot, "Nothing has run yet")


async def test_surprises_in_threads_are_logged_and_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetui.tui import backend

    monkeypatch.setattr(backend, "read_catalog", lambda *_: 1 / 0)
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("2")
        await until_painted(pilot, "something unexpected happened", "division by zero", "the details are in")
        assert "ZeroDivisionError" in (tmp_path / "home" / "finetui.log").read_text()


CRASH = """
import sys
from pathlib import Path
from finetui.core.config import Settings
from finetui.core.paths import Home
from finetui.tui import app
from finetui.tui.screens.home import HomeScreen
from finetui.tui.watching import DevicesChanged, RunsChanged

def broken(self):
    raise RuntimeError("a mistake of ours")

HomeScreen.do_copy = broken
HomeScreen.why_not = lambda self, name: ""
sys.exit(app.run_app(Home(Path(sys.argv[1])), Settings()))
"""


def test_surprises_in_handlers_end_with_a_sentence(tmp_path: Path) -> None:
    script = tmp_path / "crash.py"
    script.write_text(CRASH)
    with Terminal("--home", str(tmp_path / "home"), program=[sys.executable, str(script), str(tmp_path / "home")]) as terminal:
        terminal.until("Nothing has run yet")
        terminal.press("y")
        terminal.until("error: the screen met an unexpected error", "a mistake of ours", "the details are in")
        assert terminal.process.wait(10) == 1
        assert "Traceback" not in terminal.text
    assert "RuntimeError: a mistake of ours" in (tmp_path / "home" / "finetui.log").read_text()


async def test_views_by_number_and_back_again(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "good")
        await pilot.press("enter")
        await until_painted(pilot, "train loss")
        await pilot.press("2")
        await until_painted(pilot, "Models and adapters")
        await pilot.press("1")
        await until(pilot, lambda: isinstance(pilot.app.screen, HomeScreen))
        await pilot.press("5")
        await until_painted(pilot, "Doctor", "torch")


async def test_opens_on_a_run_when_asked(tmp_path: Path) -> None:
    from finetui.core.config import Settings
    from finetui.tui.app import FineTuiApp

    run = make_run(tmp_path / "home", "good")
    app = FineTuiApp(Home(tmp_path / "home"), Settings(), open_run=run.id)
    async with app.run_test(size=(120, 40)) as pilot:
        await until_painted(pilot, "good", "train loss", "succeeded")


async def test_themes_and_resizing(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    async with opened(tmp_path / "home", theme="finetui-light") as pilot:
        await until_painted(pilot, "good")
        assert pilot.app.theme == "finetui-light"
        await pilot.press("T")
        assert pilot.app.theme == "finetui-contrast"
        await pilot.press("T")
        assert pilot.app.theme == "finetui-16"
        await pilot.press("enter")
        for size in ((60, 20), (200, 60), (40, 12), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.2)
            assert painted(pilot.app)  # type: ignore[arg-type]
        await until_painted(pilot, "speed", "memory")


async def test_news_that_arrives_while_the_app_closes_is_let_go(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        app = pilot.app
    assert not app.screen_stack
    app.on_runs_changed(RunsChanged(()))  # type: ignore[attr-defined]
    app.devices = ()  # type: ignore[attr-defined]
    app.on_devices_changed(DevicesChanged(()))  # type: ignore[attr-defined]


RESTORED = ("\x1b[?1049l", "\x1b[?25h")
"""The ordinary screen and the cursor are back."""


def test_the_terminal_is_restored_when_the_screen_is_told_to_end(tmp_path: Path) -> None:
    with Terminal("--home", str(tmp_path / "home")) as terminal:
        terminal.until("Nothing has run yet")
        os.kill(terminal.process.pid, signal.SIGTERM)
        assert terminal.process.wait(10) == 143
        terminal.read(0.5)
        assert all(sequence in terminal.raw for sequence in RESTORED)


def test_copy_goes_through_the_terminal(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    with Terminal("--home", str(tmp_path / "home"), environment={"TMUX": ""}) as terminal:
        terminal.until("good", "succeeded", "Devices")
        terminal.press("y")
        terminal.until("copied")
        assert "\x1b]52;c;" in terminal.raw
        terminal.press("q")
        assert terminal.process.wait(10) == 0


def test_ascii_is_a_flag_of_the_screen_alone(tmp_path: Path) -> None:
    make_run(tmp_path / "home", "good")
    with Terminal("--home", str(tmp_path / "home"), "--ascii") as terminal:
        terminal.until("+ good", "succeeded")
        assert terminal.text.isascii()
        terminal.press("q")
        assert terminal.process.wait(10) == 0
    done = subprocess.run([sys.executable, "-m", "finetui", "--ascii", "doctor"], capture_output=True, text=True)
    assert done.returncode == 2 and "--ascii is for the screen" in done.stderr


async def test_a_thread_that_fails_writes_to_the_log_and_not_over_the_screen(tmp_path: Path) -> None:
    script = tmp_path / "crash.py"
    script.write_text(
        CRASH.replace("def broken(self):\n    raise", "import threading\n\ndef mistake():\n    raise").replace(
            "HomeScreen.do_copy = broken", "HomeScreen.do_copy = lambda self: threading.Thread(target=mistake).start()"
        )
    )
    with Terminal(program=[sys.executable, str(script), str(tmp_path / "home")]) as terminal:
        terminal.until("Nothing has run yet")
        terminal.press("y")
        log = tmp_path / "home" / "finetui.log"
        terminal.until_true(lambda: "RuntimeError: a mistake of ours" in log.read_text(), what="the log")
        assert "Traceback" not in terminal.text
        terminal.press("q")
        assert terminal.process.wait(10) == 0


@pytest.mark.parametrize("key", ["1", "5", "8", "9", "question_mark"])
async def test_any_size_at_any_time(tmp_path: Path, key: str) -> None:
    make_run(tmp_path / "home", "客服-回复-模型-" * 4)
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "succeeded")
        await pilot.press(key)
        for size in ((200, 60), (60, 20), (1, 1), (10, 3), (80, 24), (300, 5), (120, 40)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.1)
            lines = painted(pilot.app).splitlines()  # type: ignore[arg-type]
            assert all(cell_len(line) <= size[0] for line in lines) and len(lines) <= size[1]
        await until_painted(pilot, "Help")
