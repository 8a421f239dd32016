"""Run the real command line in a process of its own, as a script would."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from typing import Any

ENDED = ("succeeded", "failed", "stopped", "lost")


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


def finetui(*arguments: object, timeout: float = 240, typed: str = "", **environment: str) -> Done:
    """Run ``finetui`` with ``arguments`` and ``typed`` on its stdin; extra keywords are environment variables."""
    done = subprocess.run(
        [sys.executable, "-m", "finetui", *map(str, arguments)],
        capture_output=True, text=True, timeout=timeout, env={**os.environ, **environment}, input=typed,
    )  # fmt: skip
    return Done(done.returncode, done.stdout, done.stderr)


def ok(*arguments: object, **keywords: Any) -> Any:
    """Run with ``--json``, insist on success, return the document."""
    done = finetui(*arguments, "--json", **keywords)
    assert done.code == 0, f"exit {done.code}\n{done.err}\n{done.out}"
    return done.json


def wait(run: str, *arguments: object, timeout: float = 240) -> dict[str, Any]:
    """Wait until a run has ended; returns ``runs show``."""
    done = finetui("runs", "follow", run, *arguments, "--json", timeout=timeout)
    row = json.loads(done.out.splitlines()[-1])
    assert row.get("state") in ENDED, f"exit {done.code}\n{done.err}\n{done.out[-2000:]}"
    return row


def refused(*arguments: object, code: int, says: str, **keywords: Any) -> Done:
    """Run with ``--json`` and insist on a clean error: this exit code, these words, a hint or not, no traceback."""
    done = finetui(*arguments, "--json", **keywords)
    assert done.code == code, f"exit {done.code}, expected {code}\n{done.err}\n{done.out}"
    assert "Traceback" not in done.err + done.out
    assert done.err.startswith("error: ") or "\nerror: " in done.err
    error = json.loads(done.out.splitlines()[-1])["error"]
    assert set(error) == {"kind", "message", "hint"}
    assert says in error["message"] + error["hint"], error
    return done
