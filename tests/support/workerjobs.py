"""Runs worker jobs as the supervisor does, but in the foreground: ``python -m MODULE RUN_DIR`` in a run's directory."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
from finetui.core.fsio import read_json
from finetui.core.paths import Home
from finetui.core.runs.spec import JOB_MODULES, Result, RunKind
from finetui.core.runs.store import RunStore


def run_in_foreground(kind: RunKind, request: Any, *, preexec: Any = None) -> tuple[Result, Path]:
    """Run the job of ``kind`` in the home of ``FINETUI_HOME``; returns its result and its run directory."""
    home = Home(Path(os.environ["FINETUI_HOME"])).create()
    run = RunStore(home).create(kind, "test", msgspec.to_builtins(request))
    done = subprocess.run([sys.executable, "-m", JOB_MODULES[kind], str(run.dir)], capture_output=True, text=True, preexec_fn=preexec)
    assert (run.dir / "result.json").exists(), done.stderr
    result = read_json(run.dir / "result.json", Result)
    assert done.returncode == result.exit_code, done.stderr
    return result, run.dir


def succeed(kind: RunKind, request: Any) -> dict[str, Any]:
    """The result of a job that must succeed."""
    result, _ = run_in_foreground(kind, request)
    assert result.state == "succeeded", result.error
    return result.result
