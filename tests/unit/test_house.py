"""The house itself: what a wheel contains, and which processes stay free of heavy libraries."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ("core", "hub", "plugins", "cli", "tui")
HEAVY = ("torch", "transformers", "peft", "datasets", "accelerate", "bitsandbytes")


def test_wheel_holds_every_module_and_nothing_else(tmp_path: Path) -> None:
    """The packages are listed by hand in pyproject.toml: none may be forgotten, no test may slip in."""
    source = tmp_path / "source"
    subprocess.run(["git", "checkout-index", "--all", f"--prefix={source}/"], cwd=ROOT, check=True)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir", str(tmp_path)]
    subprocess.run([*build, str(source)], check=True, capture_output=True)
    with zipfile.ZipFile(next(tmp_path.glob("finetui-*.whl"))) as wheel:
        inside = {name for name in wheel.namelist() if ".dist-info/" not in name}
    rooms = tuple(source / room for room in SHIPPED)
    tracked = [path.relative_to(source) for room in rooms for path in room.rglob("*") if path.is_file()]
    assert inside == {f"finetui/{path}" for path in [*tracked, "__init__.py", "__main__.py"]}


def heavy_modules(arguments: list[str]) -> list[str]:
    """Which heavy libraries a command line imports, run for real in a process of its own."""
    script = (
        "import sys\n"
        "from finetui.cli.main import main\n"
        "code = main(sys.argv[1:])\n"
        f"found = [name for name in {HEAVY!r} if name in sys.modules]\n"
        "print('HEAVY', code, *found, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", script, *arguments], capture_output=True, text=True, timeout=120)
    last = [line for line in done.stderr.splitlines() if line.startswith("HEAVY")]
    assert last, done.stderr
    code, *found = last[0].split()[1:]
    assert code == "0", done.stderr + done.stdout
    return found


LIGHT = [
    ["--version"], ["--help"], ["runs", "list"], ["adapters", "list"], ["models", "list"], ["methods", "list"], ["methods", "show", "lora"],
    ["methods", "show", "peft:vera"], ["plan", "--model", "finetui-mini", "--method", "peft:vera", "--set", "r=16", "--json"],
    ["plugins", "list"], ["plan", "--model", "finetui-mini"], ["plan", "--model", "finetui-mini", "--method", "qlora", "--json"],
]  # fmt: skip


@pytest.mark.parametrize("arguments", LIGHT, ids=" ".join)
def test_light_commands_import_nothing_heavy(arguments: list[str]) -> None:
    assert heavy_modules(arguments) == []


def test_every_help_imports_nothing_heavy() -> None:
    """Every level of ``--help``, in one process."""
    script = (
        "import sys, io, contextlib, click\n"
        "from finetui.cli.main import root, main, COMMANDS\n"
        "context = click.Context(root)\n"
        "def visit(words, command):\n"
        "    with contextlib.redirect_stdout(io.StringIO()) as out:\n"
        "        assert main([*words, '--help']) == 0, words\n"
        "    assert 'Usage' in out.getvalue(), words\n"
        "    for name in getattr(command, 'commands', {}):\n"
        "        visit([*words, name], command.commands[name])\n"
        "for name in COMMANDS:\n"
        "    visit([name], root.get_command(context, name))\n"
        "visit(['train', '--method', 'qlora'], None)\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "[]", done.stdout + done.stderr


def test_version_imports_neither_textual_nor_rich() -> None:
    script = (
        "import sys; from finetui.cli.main import main; main(['--version']); print([m for m in ('textual', 'rich') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_heavy_imports_stand_in_the_worker_only() -> None:
    """No module outside ``core/worker`` imports a heavy library at its top."""
    offenders = []
    for room in SHIPPED:
        for path in (ROOT / room).rglob("*.py"):
            if "worker" in path.relative_to(ROOT).parts:
                continue
            for number, line in enumerate(path.read_text().splitlines(), 1):
                if line.startswith(tuple(f"{word} {name}" for word in ("import", "from") for name in HEAVY)):
                    offenders.append(f"{path.relative_to(ROOT)}:{number}")
    assert offenders == []


def test_files_stay_readable() -> None:
    """A file above 450 lines wants to be two."""
    long = [
        str(path.relative_to(ROOT)) for room in SHIPPED for path in (ROOT / room).rglob("*.py") if len(path.read_text().splitlines()) > 450
    ]
    assert long == []


def test_screen_is_refused_without_a_terminal() -> None:
    done = subprocess.run([sys.executable, "-m", "finetui"], capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 2
    assert "the screen needs a terminal" in done.stderr
    assert "Traceback" not in done.stderr


def test_dumb_terminal_is_refused() -> None:
    import pty

    leader, follower = pty.openpty()
    try:
        done = subprocess.run(
            [sys.executable, "-m", "finetui"], stdin=follower, stderr=follower, stdout=follower, env={**os.environ, "TERM": "dumb"}
        )
        assert done.returncode == 2
        assert b"TERM=dumb" in os.read(leader, 4096)
    finally:
        os.close(leader)
        os.close(follower)
