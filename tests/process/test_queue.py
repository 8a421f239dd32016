"""The queue: real launchers, runners, supervisors and jobs over eight GPUs that are not there."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest
from finetui.core.errors import NotFound, UsageError
from finetui.core.fsio import is_locked
from finetui.core.runs.adopt import refresh, refresh_all
from finetui.core.runs.control import stop
from finetui.core.runs.launch import launch, resume
from finetui.core.runs.queue import Queue, runner_lock
from finetui.core.runs.store import Run
from support import cli, toycompare
from support.gpus import GB, Gpus, uuid
from support.runs import LAUNCH, Toys, hold, python, stop_and_wait, until, wait_for_end


def started(runs: list[Run]) -> list[str]:
    """Names of runs in the order in which they started."""
    return [run.spec.name for run in sorted(runs, key=lambda run: run.state().started or 0)]


def test_sixteen_runs_want_eight_gpus_and_none_shares_one(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    """Half of them try at once, half come out of the queue; all jobs last long enough to overlap."""
    queue.pause()
    runs = [toys.start(f"q{number}", gpus="auto", steps=60, pause=0.1, planned_memory_bytes=30 * GB) for number in range(8)]
    queue.unpause()
    runs += [toys.start(f"r{number}", gpus="auto", steps=60, pause=0.1, planned_memory_bytes=30 * GB) for number in range(8)]
    spans: dict[str, list[tuple[float, float]]] = {}
    for run in runs:
        state = wait_for_end(run, 120)
        assert state.state == "succeeded" and len(state.devices) == 1
        began = next(entry["time"] for entry in state.history if entry["state"] == "running")
        spans.setdefault(state.devices[0], []).append((began, run.result().finished))  # type: ignore[union-attr]
    assert len(spans) == 8, "all were used"
    for held in spans.values():
        held.sort()
        assert all(before[1] <= after[0] for before, after in zip(held, held[1:]))


def test_a_taken_gpu_is_waited_for_with_its_holder_s_name(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    run = toys.start("next", gpus="0", steps=2)
    state = run.state()
    assert state.state == "queued" and state.reason.startswith("waiting for GPU 0, taken by run ") and holder.id in state.reason
    assert run.summary()["queue_position"] == 1 and state.supervisor is None
    stop_and_wait(holder)
    assert wait_for_end(run).devices == [uuid(0)]
    assert run.summary()["queue_position"] is None


def test_free_memory_is_waited_for(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    gpus.use(**{f"gpu{number}": 60 for number in range(8)})
    run = toys.start("big", gpus="auto", steps=2, planned_memory_bytes=30 * GB)
    assert run.state().reason == "waiting for a GPU with 30.0 GB free"
    pinned = toys.start("pinned", gpus="3", steps=2, planned_memory_bytes=30 * GB)
    assert "before it" in pinned.state().reason
    small = toys.start("small", gpus="5", steps=2, planned_memory_bytes=10 * GB)
    assert "before it" in small.state().reason, "nobody overtakes a run that would take any GPU"
    time.sleep(1.5)
    assert run.state().state == "queued"
    gpus.use(**{f"gpu{number}": 60 for number in range(8) if number != 6})
    assert wait_for_end(run).devices == [uuid(6)]
    assert wait_for_end(small).devices == [uuid(5)]
    assert until(lambda: pinned.state().reason == "waiting for 30.0 GB free on GPU 3")
    gpus.use()
    assert wait_for_end(pinned).state == "succeeded"


def test_first_come_first_served_within_a_priority(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    runs = [toys.create(name, gpus="0", steps=1) for name in ("a", "b", "urgent", "c")]
    for run in runs:
        launch(run, priority=5 if run.spec.name == "urgent" else 0)
    assert [waiting.run.spec.name for waiting in queue.waiting()] == ["urgent", "a", "b", "c"]
    queue.move(runs[3].id, "up")
    queue.move(runs[1].id, "top")
    assert [waiting.run.spec.name for waiting in queue.waiting()] == ["b", "urgent", "a", "c"]
    queue.move(runs[1].id, "bottom")
    queue.move(runs[0].id, "1")
    queue.move(runs[2].id, "down")
    assert [waiting.run.spec.name for waiting in queue.waiting()] == ["a", "c", "urgent", "b"]
    with pytest.raises(UsageError, match="no place"):
        queue.move(runs[0].id, "sideways")
    with pytest.raises(NotFound, match="does not wait"):
        queue.move(holder.id, "top")
    stop_and_wait(holder)
    for run in runs:
        assert wait_for_end(run, 30).state == "succeeded"
    assert started(runs) == ["a", "c", "urgent", "b"]


def test_a_later_run_passes_one_that_waits_for_another_gpu_only(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys, "0")
    pinned = toys.start("pinned", gpus="0", steps=1)
    other = toys.start("other", gpus="1", steps=1)
    assert wait_for_end(other).state == "succeeded" and pinned.state().state == "queued"
    both = toys.start("both", gpus="0,2", steps=1)
    behind = toys.start("behind", gpus="2", steps=1)
    assert (both.state().state, behind.state().state) == ("queued", "queued"), "GPU 2 is kept for the run that needs it as well"
    urgent = toys.create("urgent", gpus="2", steps=1)
    launch(urgent, priority=1)
    assert urgent.state().state != "queued", "a higher priority may overtake"
    stop_and_wait(holder)
    for run in (pinned, both, behind, urgent):
        assert wait_for_end(run, 90).state == "succeeded"
    assert both.state().devices == [uuid(0), uuid(2)]


def test_pause_holds_everything_back_and_unpause_goes_on(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    queue.pause()
    run = toys.start("held", gpus="auto", steps=1)
    assert (run.state().state, run.state().reason) == ("queued", "the queue is paused")
    refresh_all(toys.store)
    time.sleep(0.5)
    assert run.state().state == "queued" and not is_locked(runner_lock(toys.store.home)), "a paused queue needs no runner"
    cpu = toys.start("cpu", steps=1)
    assert wait_for_end(cpu).state == "succeeded", "what needs no device waits for none"
    queue.unpause()
    assert wait_for_end(run).state == "succeeded"


def test_pausing_sends_the_runner_away(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    run = toys.start("waits", gpus="0", steps=1)
    until(lambda: is_locked(runner_lock(toys.store.home)))
    queue.pause()
    until(lambda: not is_locked(runner_lock(toys.store.home)))
    stop_and_wait(holder)
    time.sleep(1.2)
    assert run.state().state == "queued"
    queue.unpause()
    assert wait_for_end(run).state == "succeeded"


def test_a_queued_run_can_be_stopped_and_resumed(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    run = toys.start("cancelled", gpus="0", steps=2)
    stop(run)
    assert (run.state().state, run.state().reason) == ("stopped", "stopped before it started") and queue.waiting() == []
    resume(run)
    assert run.state().state == "queued" and [waiting.entry.mode for waiting in queue.waiting()] == ["resume"]
    stop_and_wait(holder)
    assert (wait_for_end(run).state, run.state().attempt) == ("succeeded", 2)


def test_a_resumed_run_waits_too_and_keeps_its_checkpoint(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    run = toys.start("early", gpus="0", steps=60, pause=0.05)
    until(lambda: run.metrics(), 15, "a step")
    stop_and_wait(run)
    holder = hold(toys)
    resume(run)
    state = run.state()
    assert (state.state, state.attempt, state.finished) == ("queued", 1, None)
    stop_and_wait(holder)
    assert wait_for_end(run).state == "succeeded"
    assert [line["step"] for line in run.metrics()] == list(range(1, 61))


def test_a_killed_runner_is_started_again_and_nothing_is_lost(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    runs = [toys.start(name, gpus="0", steps=1) for name in ("a", "b")]
    runner = until(lambda: runner_pid(toys))
    os.kill(runner, signal.SIGKILL)
    until(lambda: not is_locked(runner_lock(toys.store.home)))
    stop_and_wait(holder)
    time.sleep(1.2)
    assert [run.state().state for run in runs] == ["queued", "queued"]
    assert refresh(runs[0]).state in ("queued", "starting")
    for run in runs:
        assert wait_for_end(run).state == "succeeded"
    assert started(runs) == ["a", "b"]


def runner_pid(toys: Toys) -> int | None:
    """Of the process that holds the runner's lock, as the kernel says."""
    path = runner_lock(toys.store.home)
    if not is_locked(path):
        return None
    inode = path.stat().st_ino
    for line in Path("/proc/locks").read_text().splitlines():
        words = line.split()
        if words[1] == "FLOCK" and words[5].endswith(f":{inode}"):
            return int(words[4])
    return None


def test_many_start_the_runner_and_one_is_elected(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    queue.pause()
    runs = [toys.start(f"r{number}", gpus="0", steps=1) for number in range(2)]
    queue._set_paused(False)
    code = (
        "import sys; from pathlib import Path; from finetui.core.paths import Home; from finetui.core.runs.queue import _start_runner; "
        "_start_runner(Home(Path(sys.argv[1])))"
    )
    for starter in [python(code, str(toys.store.home.root)) for _ in range(4)]:
        assert starter.communicate(timeout=30) == ("", "")
    for run in runs:
        assert wait_for_end(run).state == "succeeded"
        assert [entry["state"] for entry in run.state().history].count("starting") <= 2, "started once, then its job noted"
    assert toys.store.home.queue_log.read_text().count("started") == 2


def test_launchers_at_once_get_one_gpu_each(toys: Toys, gpus: Gpus, queue: Queue, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    wait = f"import pathlib, time\nwhile not pathlib.Path({str(gate)!r}).exists(): time.sleep(0.001)"
    runs = [toys.create(f"r{number}", gpus="0", steps=4, pause=0.1) for number in range(3)]
    launchers = [python(LAUNCH.format(before=wait, after=""), str(toys.store.home.root), run.id) for run in runs]
    time.sleep(1.0)
    gate.touch()
    for launcher in launchers:
        output, problems = launcher.communicate(timeout=60)
        assert (output.strip(), problems) == ("launched", "")
    for run in runs:
        assert wait_for_end(run, 30).state == "succeeded"
    ends = sorted((run.state().started or 0, run.result().finished) for run in runs)  # type: ignore[union-attr]
    assert all(before[1] <= after[0] for before, after in zip(ends, ends[1:]))


def test_the_queue_outlives_its_launcher(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    run = toys.create("orphan", gpus="0", steps=1)
    launcher = python(
        LAUNCH.format(before="", after="import os, signal; os.kill(os.getpid(), signal.SIGKILL)"), str(toys.store.home.root), run.id
    )
    assert launcher.communicate(timeout=30)[0].strip() == "launched"
    assert run.state().state == "queued"
    stop_and_wait(holder)
    assert wait_for_end(run).state == "succeeded"


def test_a_failed_run_does_not_stop_the_queue(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    bad, good = toys.start("bad", gpus="0", do="raise"), toys.start("good", gpus="0", steps=1)
    broken = toys.store.create("train", "broken", {"gpus": "0"}, module="finetui.core.no_such_module")
    toys.runs.append(broken)
    launch(broken)
    stop_and_wait(holder)
    assert [wait_for_end(run, 30).state for run in (bad, good, broken)] == ["failed", "succeeded", "failed"]


def test_runs_that_are_removed_leave_the_queue(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    holder = hold(toys)
    gone, stays = toys.start("gone", gpus="0", steps=1), toys.start("stays", gpus="0", steps=1)
    toys.store.remove(gone)
    toys.runs.remove(gone)
    assert [waiting.run.id for waiting in queue.waiting()] == [stays.id]
    stop_and_wait(holder)
    assert wait_for_end(stays).state == "succeeded"


def test_queued_runs_on_the_cpu_take_turns(toys: Toys, queue: Queue) -> None:
    runs = [toys.create(name, steps=4, pause=0.1) for name in ("a", "b", "c")]
    for run in runs:
        launch(run, queue=True)
    for run in runs:
        assert wait_for_end(run, 30).state == "succeeded"
    ends = [(run.state().started or 0, run.result().finished) for run in runs]  # type: ignore[union-attr]
    assert all(before[1] <= after[0] for before, after in zip(ends, ends[1:]))


def test_a_run_within_other_visible_devices_keeps_to_them(toys: Toys, gpus: Gpus, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    """The runner may have been started by somebody who sees other GPUs."""
    holder = hold(toys, "4")
    first = toys.start("first", gpus="4", steps=1)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "5")
    second_holder = hold(toys, "auto")
    second = toys.start("second", gpus="auto", steps=1)
    assert second.state().state == "queued"
    stop_and_wait(holder)
    stop_and_wait(second_holder)
    assert wait_for_end(first).devices == [uuid(4)] and wait_for_end(second).devices == [uuid(5)]


def test_an_unknown_gpu_fails_the_run_and_says_so(toys: Toys, gpus: Gpus) -> None:
    run = toys.create(gpus="97")
    with pytest.raises(NotFound, match="97"):
        launch(run)
    state = run.state()
    assert (state.state, state.job) == ("failed", None) and state.error is not None and state.error["kind"] == "not_found"


def test_children_of_a_comparison_wait_too(toys: Toys, gpus: Gpus, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6")
    holder = hold(toys, "6")
    run = toycompare.create(toys.store, [toycompare.entry("a"), toycompare.entry("b")], devices="auto")
    toys.runs.append(run)
    launch(run)
    child = until(lambda: next(iter(toys.store.children(run)), None))
    until(lambda: child.state().reason.startswith("waiting for GPU 6, taken by run"))
    until(lambda: any(event.message.startswith("a waiting for GPU 6") for event in run.events()))
    stop_and_wait(holder)
    assert wait_for_end(run, 60).state == "succeeded"
    children = toys.store.children(run)
    toys.runs += children
    assert [one.state().devices for one in children] == [[uuid(6)]] * 3


def test_stopping_a_comparison_takes_its_children_out_of_the_queue(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    queue.pause()
    run = toycompare.create(toys.store, [toycompare.entry("a")], devices="3")
    toys.runs.append(run)
    launch(run)
    until(lambda: queue.waiting())
    stop_and_wait(run)
    assert run.state().state == "stopped" and queue.waiting() == []
    assert [one.state().state for one in toys.store.children(run)] == ["stopped"]


def test_the_command_line(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    assert cli.ok("queue", "list") == []
    assert "nothing waits" in cli.finetui("queue", "list").err
    cli.ok("queue", "pause")
    runs = [toys.start(name, gpus="auto", steps=1, planned_memory_bytes=12 * GB) for name in ("a", "b", "c")]
    rows = cli.ok("queue", "list")
    assert [(row["position"], row["name"], row["paused"]) for row in rows] == [(1, "a", True), (2, "b", True), (3, "c", True)]
    assert rows[0]["planned_memory_bytes"] == 12 * GB and rows[0]["gpus"] == "auto" and rows[0]["reason"] == "the queue is paused"
    assert [row["name"] for row in cli.ok("queue", "move", "c", "top")] == ["c", "a", "b"]
    assert cli.ok("runs", "show", runs[2].id)["queue_position"] == 1
    assert cli.ok("runs", "stop", runs[0].id)["state"] == "stopped"
    listed = cli.finetui("queue", "list")
    assert "paused, 2 runs waiting" in listed.err and "12.0 GB" in listed.out and f"{runs[0].id}" not in listed.out
    cli.refused("queue", "move", "c", "nowhere", code=2, says="no place in the queue")
    cli.refused("queue", "move", runs[0].id, "top", code=3, says="does not wait")
    cli.ok("queue", "unpause")
    assert [wait_for_end(run).state for run in runs[1:]] == ["succeeded"] * 2
