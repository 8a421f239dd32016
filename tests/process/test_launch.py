"""Launching: quick, once, and independent of whoever launched."""

from __future__ import annotations

import os
import pty
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from finetui.core.errors import DataError, Refused, WorkFailed
from finetui.core.fsio import is_locked
from finetui.core.runs.launch import launch
from support.runs import LAUNCH, Toys, python, until, wait_for, wait_for_end


def test_launch_answers_quickly(toys: Toys, record_property: Callable[[str, object], None]) -> None:
    """The launcher waits for a supervisor, not for a job. The bar is 0.15 s on an idle machine."""
    seconds = []
    for _ in range(5):
        run = toys.create(steps=1)
        began = time.perf_counter()
        launch(run)
        seconds.append(time.perf_counter() - began)
        assert run.state().state in ("starting", "running", "succeeded")
        assert run.state().supervisor is not None
        wait_for_end(run)
    record_property("launch_seconds", [round(value, 3) for value in seconds])
    assert min(seconds) < 0.5


def test_run_reaches_its_end_and_tells_everything(toys: Toys) -> None:
    run = toys.start(steps=4, output="/somewhere/adapter", method="lora", model="tiny", data=["a.jsonl"])
    state = wait_for_end(run)
    assert (state.state, state.exit_code, state.error, state.devices) == ("succeeded", 0, None, ["cpu"])
    assert [entry["state"] for entry in state.history][:2] == ["queued", "starting"]
    summary = run.summary()
    assert summary["run"] == run.id
    assert (summary["steps"], summary["total_steps"], summary["loss"], summary["tokens"]) == (4, 4, 0.25, 40)
    assert (summary["method"], summary["model"], summary["data"]) == ("lora", "tiny", ["a.jsonl"])
    assert (summary["trainable_parameters"], summary["total_parameters"]) == (7, 70)
    assert summary["adapter"] == "/somewhere/adapter"
    assert summary["started"].endswith("Z") and summary["created"] <= summary["started"] <= summary["finished"]
    assert not (run.dir / ".reserve").exists()


def test_supervisor_and_job_are_sessions_of_their_own(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.02)
    state = wait_for(run, "running")
    assert state.supervisor is not None and state.job is not None
    sessions = {os.getsid(0), os.getsid(state.supervisor.pid), os.getsid(state.job.pid)}
    assert len(sessions) == 3
    environment = Path(f"/proc/{state.job.pid}/environ").read_bytes().split(b"\0")
    assert f"FINETUI_RUN={run.id}".encode() in environment and b"CUDA_VISIBLE_DEVICES=" in environment
    (run.dir / "control" / "stop").touch()
    assert wait_for_end(run).state == "stopped"


HEAVY = {"torch", "transformers", "textual", "click", "psutil", "platformdirs", "pynvml", "rich", "sqlite3"}
LATER = {"subprocess", "threading", "shutil", "tempfile", "difflib", "finetui.core.runs.notify", "finetui.core.runs.meters"}
"""What a supervisor needs only when the launcher has gone."""


def test_a_supervisor_has_imported_little_when_it_answers(toys: Toys) -> None:
    """The launcher waits for its imports."""
    code = (
        "import os, sys\n"
        "from finetui.core.runs import supervisor\n"
        "def answer(_, message):\n"
        "    print(*message, *sys.modules, flush=True)\n"
        "    os._exit(0)\n"
        "supervisor._answer = answer\n"
        "supervisor.main()\n"
    )
    answer, *loaded = python(code, str(toys.create().dir), "start", "0", '{"devices":["cpu"],"descriptors":[]}').communicate()[0].split()
    assert answer == "ready" and "finetui.core.runs.records" in loaded
    assert not set(loaded) & (HEAVY | LATER)


def test_run_goes_on_when_its_launcher_exits(toys: Toys) -> None:
    run = toys.create(steps=20, pause=0.05)
    launcher = python(LAUNCH.format(before="", after=""), str(toys.store.home.root), run.id)
    output, errors = launcher.communicate(timeout=20)
    assert (launcher.returncode, output.strip(), errors) == (0, "launched", "")
    assert wait_for_end(run).state == "succeeded"
    assert run.summary()["steps"] == 20


def test_run_survives_the_hang_up_of_the_terminal(toys: Toys) -> None:
    """Closing the terminal kills what lives in its session, and not the run."""
    run = toys.create(steps=40, pause=0.05)
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a test runner under nohup ignores it, and that is inherited
        code = LAUNCH.format(before="", after="import time; time.sleep(60)")
        os.execv(sys.executable, [sys.executable, "-c", code, str(toys.store.home.root), run.id])
    wait_for(run, "running")
    os.close(terminal)
    _, status = os.waitpid(pid, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGHUP
    assert run.state().state == "running"
    assert wait_for_end(run).state == "succeeded"
    assert run.summary()["steps"] == 40


def test_two_processes_start_the_same_run_and_one_wins(toys: Toys, tmp_path: Path) -> None:
    run = toys.create(steps=10, pause=0.05)
    gate = tmp_path / "gate"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.001)"
    launchers = [python(LAUNCH.format(before=wait, after=""), str(toys.store.home.root), run.id) for _ in range(3)]
    time.sleep(1.0)
    gate.touch()
    outputs = [launcher.communicate(timeout=30)[0].strip() for launcher in launchers]
    assert sorted(launcher.returncode for launcher in launchers) == [0, 4, 4]
    assert sum("launched" in output for output in outputs) == 1
    assert all(run.id in output for output in outputs if output != "launched")
    assert wait_for_end(run).state == "succeeded"
    assert [event.kind for event in run.events()].count("prepared") == 1
    assert len(run.metrics()) == 10


def test_launching_what_is_not_queued_is_refused(toys: Toys) -> None:
    run = toys.start(steps=1)
    wait_for_end(run)
    before = (run.dir / "state.json").read_bytes()
    with pytest.raises(Refused, match="succeeded"):
        launch(run)
    assert (run.dir / "state.json").read_bytes() == before


def test_unknown_job_module_fails_with_its_words(toys: Toys) -> None:
    run = toys.store.create("train", "broken", {}, module="finetui.core.no_such_module")
    toys.runs.append(run)
    launch(run)
    error = wait_for_end(run).error
    assert error is not None and "exit code 1" in error["message"] and "no_such_module" in error["message"]


def test_supervisor_that_cannot_start_is_reported(toys: Toys) -> None:
    run = toys.create()
    (run.dir / "spec.json").unlink()
    with pytest.raises(WorkFailed, match="did not start"):
        launch(run)
    until(lambda: not is_locked(run.dir / "lock"))


@pytest.mark.parametrize(
    ("do", "kind", "words"),
    [
        ("raise", DataError.kind, "data.jsonl:7: no answer"),
        ("bug", "failed", "KeyError: 'a bug'"),
        ("memory", "out_of_memory", "out of memory"),
    ],
)
def test_errors_of_the_job_become_the_run_s(toys: Toys, do: str, kind: str, words: str) -> None:
    state = wait_for_end(toys.start(do=do))
    assert state.state == "failed" and state.error is not None
    assert state.error["kind"] == kind and words in state.error["message"] and state.error["hint"]
    assert state.exit_code == (2 if do == "raise" else 1)
