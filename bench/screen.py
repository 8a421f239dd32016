"""The screen as a process in a terminal of 120x40, beside the smallest Textual app, posting and harlequin, all in one run.

    python bench/screen.py [--envs DIR] [--rounds N] [--no-peers]

The peers are installed from the package registry into environments of their own below ``--envs`` (default: ``~/.cache/finetui/bench``),
once. Apps take turns, so that all see the same machine. Columns: CPU (user + system) until the first paint is complete, resident memory
after three seconds, CPU and bytes written while nothing happens, and the time from a key to the first byte of what it changes.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
from support.terminal import Terminal  # noqa: E402

TREE_SITTER = "tree-sitter<0.26"
"""Textual's text area crashes with later ones; the peers' own requirements let them in."""
SETTLE, IDLE, KEYS = 3.0, 5.0, 10
SMALLEST = """
from textual.app import App
from textual.widgets import DataTable, Footer, Header

class Smallest(App):
    def compose(self):
        yield Header()
        yield DataTable(cursor_type="row")
        yield Footer()

    def on_mount(self):
        table = self.query_one(DataTable)
        table.add_columns("name", "state", "loss")
        for number in range(30):
            table.add_row(f"run-{number}", "succeeded", "1.234")

Smallest().run()
"""


@dataclass
class Program:
    """How to start an app, what is on its screen when the first paint is complete, and the figures of each round."""

    name: str
    command: list[str]
    painted: str
    figures: list[list[float]] = field(default_factory=list)


def peer(name: str, painted: str, envs: Path) -> Program:
    """An app of the registry in an environment of its own, installed when it is not there yet."""
    home = envs / name
    if not (home / "bin" / name).exists():
        print(f"installing {name} into {home}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(home)], check=True)
        subprocess.run([str(home / "bin" / "python"), "-m", "pip", "install", "--quiet", name, TREE_SITTER], check=True)
    return Program(name, [str(home / "bin" / name)], painted)


def cpu(process: psutil.Process) -> float:
    """Seconds of the processor."""
    times = process.cpu_times()
    return times.user + times.system


def measure(program: Program, environment: dict[str, str]) -> list[float]:
    """CPU to first paint (ms), memory (MB), idle CPU (%), idle bytes a second, key to paint (ms)."""
    with Terminal(program=program.command, environment=environment) as terminal:
        process = psutil.Process(terminal.process.pid)
        while program.painted not in terminal.text:
            terminal.read(0.01)
            if terminal.process.poll() is not None:
                raise SystemExit(f"{program.name} ended before it painted:\n{terminal.text}")
        first = cpu(process)
        terminal.read(SETTLE)
        memory, before = process.memory_info().rss, cpu(process)
        bytes_written = terminal.read(IDLE)
        idle = cpu(process) - before
        waits = []
        for number in range(KEYS):
            began = time.perf_counter()
            terminal.press("\x1b[B" if number % 2 == 0 else "\x1b[A")
            if terminal.wait_for_output(1.0):
                waits.append(time.perf_counter() - began)
            terminal.read(0.2)
        return [
            first * 1e3,
            memory / 1e6,
            idle / IDLE * 100,
            bytes_written / IDLE,
            statistics.median(waits) * 1e3 if waits else float("nan"),
        ]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--envs", type=Path, default=Path.home() / ".cache" / "finetui" / "bench")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-peers", action="store_true", help="only us and the smallest app")
    options = parser.parse_args()
    programs = [
        Program("smallest Textual app", [sys.executable, "-c", SMALLEST], "run-9"),
        Program("finetui", [sys.executable, "-m", "finetui"], "Enter starts here"),
    ]
    if not options.no_peers:
        programs += [peer("posting", "Collection", options.envs), peer("harlequin", "Data Catalog", options.envs)]
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "FINETUI_HOME": home, "FINETUI_CONFIG": f"{home}/config.toml", "HOME": home}
        for number in range(options.rounds + 1):
            for program in programs:
                found = measure(program, environment)
                if number:  # the first round warms the disk cache and writes bytecode
                    program.figures.append(found)
    print(f"{'':<22}{'CPU ms':>8}{'x least':>9}{'RSS MB':>8}{'idle %':>8}{'idle B/s':>10}{'key ms':>8}")
    least = statistics.median(row[0] for row in programs[0].figures)
    for program in programs:
        first, memory, idle, written, key = (statistics.median(column) for column in zip(*program.figures))
        print(f"{program.name:<22}{first:>8.0f}{first / least:>9.2f}{memory:>8.1f}{idle:>8.2f}{written:>10.0f}{key:>8.1f}")


if __name__ == "__main__":
    main()
