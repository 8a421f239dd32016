"""A pseudo-terminal with a program in it, and just enough of a terminal emulator to read what Textual paints."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

from rich.cells import cell_len

_SEQUENCE = re.compile(r"\x1b\[([0-9;?<>=]*)[ -/]*([@-~])|\x1b[\]P_^X][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[ -/]*(?![\[\]P_^X])[0-~]")


def _log_in() -> None:
    """What a login does to its first process: a session with this terminal, and no hang-up ignored (as under ``nohup``)."""
    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


class Terminal:
    """``finetui`` (or another command) in a terminal of its own session, as after an SSH login.

    Attributes:
        received: how many bytes the program has written.
        raw: all of them, as text.
    """

    def __init__(
        self,
        *arguments: str,
        columns: int = 120,
        rows: int = 40,
        environment: dict[str, str] | None = None,
        program: list[str] | None = None,
    ) -> None:
        self.columns, self.rows = columns, rows
        self.received = 0
        self.raw = ""
        self._cells = [[" "] * columns for _ in range(rows)]
        self._x = self._y = 0
        self._rest = ""
        self._master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        command = program or [sys.executable, "-m", "finetui", *arguments]
        # A test runner's COLUMNS and LINES would count for more than the terminal's own size.
        inherited = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "LINES")}
        variables = {**inherited, "TERM": "xterm-256color", "COLORTERM": "truecolor", **(environment or {})}
        self.process = subprocess.Popen(
            command, stdin=slave, stdout=slave, stderr=slave, env=variables, close_fds=True,
            preexec_fn=_log_in,
        )  # fmt: skip
        os.close(slave)

    def read(self, seconds: float = 0.05) -> int:
        """Take in what comes within so many seconds; returns the number of bytes."""
        before, deadline = self.received, time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            if not select.select([self._master], [], [], left)[0]:
                break
            try:
                block = os.read(self._master, 65536)
            except OSError:  # the program is gone
                break
            if not block:
                break
            self.received += len(block)
            self.raw += block.decode(errors="replace")
            self._feed(block.decode(errors="replace"))
        return self.received - before

    def wait_for_output(self, seconds: float) -> bool:
        """Wait until the program writes something, without reading it; returns whether it did."""
        return bool(select.select([self._master], [], [], seconds)[0])

    @property
    def text(self) -> str:
        """What is on the screen."""
        return "\n".join("".join(row).rstrip() for row in self._cells)

    def until(self, *words: str, seconds: float = 30.0) -> str:
        """Read until all of these words are on the screen; returns the text."""
        return self.until_true(lambda: all(word in self.text for word in words), seconds, str(words))

    def until_true(self, condition: Callable[[], Any], seconds: float = 30.0, what: str = "") -> str:
        """Read until a condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"waited {seconds} s for {what}; on screen:\n{self.text}"
            self.read(0.1)
        return self.text

    def press(self, keys: str) -> None:
        """Send keys as a terminal would."""
        os.write(self._master, keys.encode())

    def kill(self) -> None:
        """SIGKILL the program."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait(10)
        self.hang_up()

    def hang_up(self) -> None:
        """Close the terminal under the program, as a lost connection does."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def close(self) -> None:
        """End whatever is left."""
        self.hang_up()
        if self.process.poll() is None:
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(5)

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _feed(self, text: str) -> None:
        text = self._rest + text
        at = 0
        while at < len(text):
            if text[at] == "\x1b":
                found = _SEQUENCE.match(text, at)
                if found is None:
                    if len(text) - at > 4096:
                        at += 1
                        continue
                    break  # a sequence that is not whole yet
                self._obey(found.group(1) or "", found.group(2) or "")
                at = found.end()
            else:
                self._put(text[at])
                at += 1
        self._rest = text[at:]

    def _obey(self, parameters: str, final: str) -> None:
        numbers = [int(number) if number.isdigit() else 0 for number in parameters.split(";")]
        if final == "H":
            self._y = max(0, numbers[0] - 1)
            self._x = max(0, (numbers[1] if len(numbers) > 1 else 1) - 1)
        elif final == "J" and numbers[0] in (2, 3):
            self._cells = [[" "] * self.columns for _ in range(self.rows)]

    def _put(self, character: str) -> None:
        if character == "\r":
            self._x = 0
        elif character == "\n":
            self._y += 1
        elif character >= " " and self._y < self.rows and self._x < self.columns:
            self._cells[self._y][self._x] = character
            self._x += 1
            if cell_len(character) == 2 and self._x < self.columns:
                self._cells[self._y][self._x] = ""
                self._x += 1
