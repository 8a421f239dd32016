"""Stopping with a checkpoint, stopping what does not listen, and going on from where it stopped."""

from __future__ import annotations

import os
import signal
import time

import pytest
from finetui.core.errors import Refused
from finetui.core.fsio import read_json
from finetui.core.runs import control
from finetui.core.runs.follow import follow
from finetui.core.runs.identity import TAG, signal_process
from finetui.core.runs.launch import launch, resume
from support.runs import Toys, python, until, wait_for, wait_for_end


def test_stop_saves_a_checkpoint_and_resume_goes_on_from_it(toys: Toys) -> None:
    run = toys.start(steps=40, pause=0.05)
    wait_for(run, "running")
    asked = time.monotonic()
    control.stop(run)
    state = wait_for_end(run)
    assert time.monotonic() - asked < 2.0, "the state follows within two seconds"
    assert (state.state, state.exit_code, state.error) == ("stopped", 0, None)
    done = read_json(run.dir / "checkpoints" / "step.json")["step"]
    assert run.summary()["steps"] == done < 40

    resume(run)
    assert not (run.dir / "control" / "stop").exists()
    state = wait_for_end(run)
    assert (state.state, state.attempt) == ("succeeded", 2)
    assert [line["step"] for line in run.metrics()] == list(range(1, 41))
    assert read_json(run.dir / "result.1.json")["state"] == "stopped"
    assert [event.seq for event in run.events()] == list(range(1, len(run.events()) + 1))
    assert [event.data["step"] for event in run.events() if event.kind == "resumed"] == [done]


def test_resume_after_a_torn_write(toys: Toys) -> None:
    """A crash may leave half a line at the end of both logs; the next attempt starts a fresh one."""
    run = toys.start(steps=30, pause=0.05)
    wait_for(run, "running")
    control.stop(run)
    wait_for_end(run)
    done = run.summary()["steps"]
    for name in ("events.jsonl", "metrics.jsonl"):
        with open(run.dir / name, "ab") as file:
            file.write(b'{"step":999,"lo')
    assert run.summary()["steps"] == done
    resume(run)
    assert wait_for_end(run).state == "succeeded"
    assert [line["step"] for line in run.metrics()] == list(range(1, 31))
    assert b'"lo{' not in (run.dir / "metrics.jsonl").read_bytes()
    assert [event.seq for event in run.events()] == list(range(1, len(run.events()) + 1))


def test_job_that_does_not_listen_is_ended(toys: Toys) -> None:
    run = toys.start(do="hang")
    wait_for(run, "running")
    control.stop(run, now=True)
    state = wait_for_end(run, 20)
    assert state.state == "stopped" and "SIGKILL" in state.reason
    assert [entry["state"] for entry in state.history] == ["queued", "starting", "starting", "running", "stopping", "stopped"]
    resume(run)
    wait_for(run, "running")
    os.kill(run.state().job.pid, signal.SIGKILL)  # type: ignore[union-attr]
    assert wait_for_end(run).state == "failed"


def test_stop_now_interrupts_a_job_that_waits(toys: Toys) -> None:
    """The job sleeps in one call: SIGINT is taken for a request, SIGTERM interrupts."""
    run = toys.start(do="sleep")
    wait_for(run, "running")
    control.stop(run, now=True)
    state = wait_for_end(run, 20)
    assert (state.state, state.exit_code, state.reason) == ("stopped", 130, "interrupted; no checkpoint")


def test_signals_without_now_only_ask(toys: Toys) -> None:
    """A machine that shuts down sends SIGTERM to everyone, the supervisor passes its own on: the job still saves."""
    run = toys.start(steps=1000, pause=0.5)
    job = wait_for(run, "running").job
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM):
        signal_process(job, number)
    state = wait_for_end(run)
    assert (state.state, state.exit_code) == ("stopped", 0)
    assert (run.dir / "checkpoints" / "step.json").exists()


def test_resume_ends_what_the_last_attempt_left_behind(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    run = toys.start(do="raise")
    assert wait_for_end(run).state == "failed"
    monkeypatch.setenv(TAG, run.id)
    left = python("import time; time.sleep(60)")
    monkeypatch.delenv(TAG)
    try:
        resume(run)
        assert left.wait(5) == -signal.SIGTERM
        assert wait_for_end(run).attempt == 2
    finally:
        left.kill()
        left.communicate()


def test_checkpoint_on_request(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.02)
    wait_for(run, "running")
    control.checkpoint_now(run)
    until((run.dir / "checkpoints" / "step.json").exists)
    assert run.state().state == "running"
    control.stop(run)
    assert wait_for_end(run).state == "stopped"


def test_what_has_ended_cannot_be_stopped_and_what_succeeded_not_resumed(toys: Toys) -> None:
    run = toys.start(steps=1)
    wait_for_end(run)
    with pytest.raises(Refused, match="succeeded"):
        control.stop(run)
    with pytest.raises(Refused, match="succeeded"):
        resume(run)
    with pytest.raises(Refused, match="succeeded"):
        control.checkpoint_now(run)
    assert run.state().state == "succeeded" and run.state().attempt == 1


def test_queued_run_is_stopped_on_the_spot_and_cannot_be_launched(toys: Toys) -> None:
    run = toys.create()
    control.stop(run)
    assert run.state().state == "stopped"
    with pytest.raises(Refused, match="stopped"):
        launch(run)
    resume(run)
    assert wait_for_end(run).state == "succeeded"


def test_active_run_is_neither_resumed_nor_removed(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.02)
    wait_for(run, "running")
    with pytest.raises(Refused, match="is running and cannot be resumed"):
        resume(run)
    with pytest.raises(Refused, match="running"):
        toys.store.remove(run)
    control.stop(run)
    wait_for_end(run)
    toys.store.remove(run)
    assert not run.dir.exists() and list(toys.store.home.runs.iterdir()) == []
    toys.runs.clear()


def test_following_shows_every_line_once_and_ends_with_the_run(toys: Toys) -> None:
    run = toys.start(steps=25, pause=0.04)
    updates = list(follow(run, interval=0.05))
    assert [line["step"] for update in updates for line in update.metrics] == list(range(1, 26))
    assert [event.seq for update in updates for event in update.events] == [1]
    assert updates[-1].state.state == "succeeded" and len(updates) > 5
    assert all(update.changed for update in updates)
    again = list(follow(run))
    assert len(again) == 1 and len(again[0].metrics) == 25


def test_following_notices_the_death_of_the_supervisor(toys: Toys) -> None:
    run = toys.start(steps=60, pause=0.05)
    supervisor = wait_for(run, "running").supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGKILL)
    updates = list(follow(run))
    assert updates[-1].state.state == "succeeded"
    assert [line["step"] for update in updates for line in update.metrics] == list(range(1, 61))


def test_a_result_that_cannot_be_written_is_a_failure_with_its_reason(toys: Toys) -> None:
    run = toys.start(do="unwritable")
    state = wait_for_end(run)
    assert state.state == "failed" and "unsupported" in state.error["message"]  # type: ignore[index]
