"""How long the command line takes to answer, beside an empty interpreter and beside importing the libraries it avoids.

Each command runs in a process of its own, interleaved with the others, so that all see the same machine. Prints medians of the CPU
seconds (user + system) and their ratio to the empty interpreter.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile

ROUNDS = 5
COMMANDS: dict[str, list[str]] = {
    "python -c pass": ["-c", "pass"],
    "finetui --version": ["-m", "finetui", "--version"],
    "finetui --help": ["-m", "finetui", "--help"],
    "finetui runs list": ["-m", "finetui", "runs", "list"],
    "finetui models list": ["-m", "finetui", "models", "list"],
    "finetui plan (every method)": ["-m", "finetui", "plan", "--model", "finetui-mini"],
    "import textual app": ["-c", "from textual.app import App; from textual.widgets import DataTable, Footer; DataTable, Footer"],
    "import transformers.AutoTokenizer": ["-c", "from transformers import AutoTokenizer"],
    "import peft": ["-c", "import peft"],
}  # fmt: skip


def cpu_seconds(arguments: list[str], environment: dict[str, str]) -> float:
    """User and system time of one run of the interpreter."""
    process = subprocess.Popen(
        [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, stdin=subprocess.DEVNULL, env=environment
    )
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{arguments} exited {process.returncode}")
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    """Measure and print the table."""
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "FINETUI_HOME": home}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)  # nobody's installation compiles itself each time
        times: dict[str, list[float]] = {name: [] for name in COMMANDS}
        for round_number in range(ROUNDS + 1):
            for name, arguments in COMMANDS.items():
                seconds = cpu_seconds(arguments, environment)
                if round_number:  # the first round warms the disk cache and writes bytecode
                    times[name].append(seconds)
    empty = statistics.median(times["python -c pass"])
    print(f"{'':<36}{'CPU ms':>8}{'min':>8}{'max':>8}{'x empty':>9}")
    for name, values in times.items():
        middle = statistics.median(values)
        print(f"{name:<36}{middle * 1e3:>8.0f}{min(values) * 1e3:>8.0f}{max(values) * 1e3:>8.0f}{middle / empty:>9.1f}")


if __name__ == "__main__":
    main()
