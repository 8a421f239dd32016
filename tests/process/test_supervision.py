"""Deaths: of the supervisor, of the job, of both; and who finds out."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from finetui.core.errors import Refused
from finetui.core.fsio import read_json, write_json
from finetui.core.runs.adopt import refresh, refresh_all
from finetui.core.runs.identity import find_tagged, identify, is_alive, signal_process
from finetui.core.runs.launch import resume, start_supervisor
from finetui.core.runs.spec import RunSpec, RunState
from finetui.core.runs.store import Run
from support.runs import Toys, kill_supervisor, python, until, wait_for, wait_for_end


def kill_job(run: Run) -> None:
    """SIGKILL the job and wait until it is gone."""
    job = run.state().job
    assert signal_process(job, signal.SIGKILL)
    until(lambda: not is_alive(job), what="the job's end")


def test_job_outlives_its_supervisor_and_is_adopted(toys: Toys) -> None:
    run = toys.start(steps=60, pause=0.05)
    first = wait_for(run, "running")
    kill_supervisor(run)
    assert is_alive(first.job)
    refresh_all(toys.store)
    adopted = run.state()
    assert adopted.state == "running" and adopted.job == first.job
    assert adopted.supervisor is not None and adopted.supervisor != first.supervisor and is_alive(adopted.supervisor)
    assert any("adopted" in entry["reason"] for entry in adopted.history)
    state = wait_for_end(run)
    assert (state.state, state.exit_code, state.attempt) == ("succeeded", 0, 1)
    assert [line["step"] for line in run.metrics()] == list(range(1, 61))


def test_adopted_run_can_be_stopped(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.02)
    wait_for(run, "running")
    kill_supervisor(run)
    refresh(run)
    (run.dir / "control" / "stop").touch()
    assert wait_for_end(run).state == "stopped"


def test_many_readers_adopt_once(toys: Toys) -> None:
    run = toys.start(steps=100, pause=0.05)
    wait_for(run, "running")
    kill_supervisor(run)
    code = (
        "import sys; from pathlib import Path; from finetui.core.paths import Home; from finetui.core.runs.store import RunStore; "
        "from finetui.core.runs.adopt import refresh; print(refresh(RunStore(Home(Path(sys.argv[1]))).get(sys.argv[2])).state)"
    )
    readers = [python(code, str(toys.store.home.root), run.id) for _ in range(3)]
    assert [reader.communicate(timeout=30)[0].strip() for reader in readers] == ["running"] * 3
    assert sum("adopted" in entry["reason"] for entry in run.state().history) == 1
    (run.dir / "control" / "stop").touch()
    wait_for_end(run)


def test_job_whose_identity_was_never_written_is_found_by_its_tag(toys: Toys) -> None:
    """The supervisor may die between starting the job and writing down which process it is."""
    run = toys.start(steps=40, pause=0.05)
    job = wait_for(run, "running").job
    kill_supervisor(run)
    state = run.state()
    state.job, state.state = None, "starting"
    write_json(run.dir / "state.json", state)
    assert refresh(run).job == job
    assert wait_for_end(run).state == "succeeded"


def test_adopted_while_starting_is_running_only_when_this_attempt_s_job_has_spoken(toys: Toys) -> None:
    """The events of the attempt before are no sign of life of this one."""
    run = toys.start(steps=1000, pause=0.02, delay=1.5)
    wait_for(run, "running")
    (run.dir / "control" / "stop").touch()
    wait_for_end(run)
    resume(run)
    until(lambda: run.state().job)
    kill_supervisor(run)
    assert refresh(run).state == "starting"
    time.sleep(0.5)
    assert run.state().state == "starting"
    wait_for(run, "running")
    (run.dir / "control" / "stop").touch()
    assert wait_for_end(run).state == "stopped"


def test_job_that_ends_unsupervised_is_taken_at_its_word(toys: Toys) -> None:
    run = toys.start(steps=20, pause=0.05)
    job = wait_for(run, "running").job
    kill_supervisor(run)
    until(lambda: not is_alive(job), what="the job's end")
    assert run.state().state == "running"
    state = refresh(run)
    assert (state.state, state.exit_code) == ("succeeded", 0)
    assert run.state().state == "succeeded" and run.summary()["steps"] == 20


def test_both_killed_is_lost_and_can_be_resumed(toys: Toys) -> None:
    run = toys.start(steps=30, pause=0.05)
    wait_for(run, "running")
    kill_supervisor(run)
    kill_job(run)
    state = refresh(run)
    assert state.state == "lost" and "gone" in state.reason and state.finished is not None
    resume(run)
    assert wait_for_end(run).state == "succeeded"
    assert run.state().attempt == 2


def test_adopted_job_that_is_killed_fails(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.05)
    wait_for(run, "running")
    kill_supervisor(run)
    refresh(run)
    kill_job(run)
    state = wait_for_end(run)
    assert state.state == "failed" and state.error is not None and "without a result" in state.error["message"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_job_killed_by_a_signal_fails_with_its_last_words(toys: Toys, number: signal.Signals) -> None:
    run = toys.start(do="signal", number=int(number))
    state = wait_for_end(run)
    assert (state.state, state.exit_code) == ("failed", -number) and state.error is not None
    assert number.name in state.error["message"] and "last words" in state.error["message"]
    assert state.error["kind"] == "failed" and str(run.dir) in state.error["hint"]
    assert not (run.dir / "result.json").exists()


@pytest.fixture
def small_group() -> Iterator[Path]:
    """A control group with 60 MiB of memory (needs root)."""
    old = Path("/sys/fs/cgroup/memory")
    group = (old if old.is_dir() else old.parent) / f"finetui-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as problem:
        pytest.skip(f"no control group can be made here: {problem}")
    try:
        limit = next((group / name for name in ("memory.limit_in_bytes", "memory.max") if (group / name).exists()), None)
        if limit is None:
            pytest.skip("control groups without a memory controller")
        limit.write_text(str(60 << 20))
        yield group
    finally:
        group.rmdir()


def test_job_killed_for_want_of_memory_says_so(toys: Toys, small_group: Path) -> None:
    state = wait_for_end(toys.start(do="eat", group=str(small_group)), 30)
    assert (state.state, state.exit_code) == ("failed", -signal.SIGKILL) and state.error is not None
    assert state.error["kind"] == "out_of_memory" and "finetui plan" in state.error["hint"]


def test_job_that_leaves_without_a_result_fails(toys: Toys) -> None:
    state = wait_for_end(toys.start(do="exit"))
    assert state.state == "failed" and state.error is not None
    assert "exit code 9" in state.error["message"] and "about to leave" in state.error["message"]


def test_what_the_job_leaves_behind_is_swept(toys: Toys) -> None:
    """A child in a session of its own that outlives its parent, as a launcher's workers do; an untagged process stays."""
    bystander = python("import time; time.sleep(60)")
    try:
        run = toys.start(do="children", steps=1)
        assert wait_for_end(run, 20).state == "succeeded"
        child = next(event.data["pid"] for event in run.events() if event.kind == "child")
        assert identify(child) is None and find_tagged(run.id) == []
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()


def test_what_ignores_every_request_is_swept_from_all_sessions(toys: Toys) -> None:
    """A child and a grandchild, each in a session of its own, that SIGTERM does not end."""
    run = toys.start(do="stubborn", steps=1)
    assert wait_for_end(run, 20).state == "succeeded"
    event = next(event for event in run.events() if event.kind == "child")
    assert identify(event.data["pid"]) is None and identify(event.data["child"]) is None and find_tagged(run.id) == []


def test_what_a_dead_run_left_behind_ends_when_it_is_found(toys: Toys) -> None:
    run = toys.start(do="stubborn", steps=1000, pause=0.05)
    wait_for(run, "running")
    kill_supervisor(run)
    kill_job(run)
    assert len(find_tagged(run.id)) == 2
    assert refresh(run).state == "lost"
    until(lambda: find_tagged(run.id) == [], 2, "the end of what was left")


def test_a_job_that_starts_when_its_run_was_called_lost_ends_at_once(toys: Toys) -> None:
    """Between fork and exec it carries no tag yet; whoever looks then, right after its supervisor was killed, sees nobody."""
    run = toys.create(steps=1000, pause=0.05)
    write_json(run.dir / "state.json", RunState(state="lost"))
    job = python("import runpy, sys; runpy.run_module('support.toyjobs', run_name='__main__')", str(run.dir))
    assert "is lost: its job does not start any more" in job.communicate(timeout=20)[1] and job.returncode == 1
    assert not (run.dir / "events.jsonl").exists()


def test_hang_up_leaves_the_supervisor_alone_and_sigterm_stops_the_run(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.02)
    supervisor = wait_for(run, "running").supervisor
    assert supervisor is not None
    os.kill(supervisor.pid, signal.SIGHUP)
    os.kill(supervisor.pid, signal.SIGHUP)
    assert is_alive(supervisor)
    os.kill(supervisor.pid, signal.SIGTERM)
    state = wait_for_end(run)
    assert state.state == "stopped" and (run.dir / "checkpoints" / "step.json").exists()


def test_restarted_machine_is_named_as_the_reason(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.05)
    wait_for(run, "running")
    kill_supervisor(run)
    kill_job(run)
    state = read_json(run.dir / "state.json", dict)
    state["job"]["boot_id"] = "00000000-0000-0000-0000-000000000000"
    write_json(run.dir / "state.json", state)
    assert "restarted" in refresh(run).reason
    resume(run)
    assert wait_for(run, "running").attempt == 2
    (run.dir / "control" / "stop").touch()
    wait_for_end(run)


@pytest.mark.parametrize("what", ["boot_id", "start_time"])
def test_process_that_has_a_dead_job_s_number_is_no_job(toys: Toys, what: str) -> None:
    """After a restart, or when pids have gone round: it is neither adopted nor ended."""
    run = toys.create()
    bystander = python("import time; time.sleep(60)")
    try:
        found = identify(bystander.pid)
        assert found is not None
        dead = msgspec.structs.replace(found, **{what: "another boot" if what == "boot_id" else found.start_time - 1})
        write_json(run.dir / "state.json", RunState(state="running", job=dead, supervisor=dead))
        state = refresh(run)
        assert state.state == "lost" and ("restarted" in state.reason) == (what == "boot_id")
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.communicate()


def test_run_of_another_machine_is_left_to_it(toys: Toys) -> None:
    """On a shared file system a login node must not call a compute node's run lost."""
    run = toys.create()
    spec = read_json(run.dir / "spec.json", dict)
    spec["host"] = "another-machine"
    write_json(run.dir / "spec.json", spec)
    write_json(run.dir / "state.json", RunState(state="running"))
    foreign = Run(run.dir, read_json(run.dir / "spec.json", RunSpec))
    assert refresh(foreign).state == "running"
    write_json(run.dir / "state.json", RunState(state="lost"))
    with pytest.raises(Refused, match="another-machine"):
        resume(foreign)


def test_adopting_a_supervised_run_is_refused(toys: Toys) -> None:
    run = toys.start(steps=1000, pause=0.02)
    wait_for(run, "running")
    with pytest.raises(Refused, match="supervised already"):
        start_supervisor(run, "adopt")
    (run.dir / "control" / "stop").touch()
    assert wait_for_end(run).state == "stopped"


def test_queued_run_is_not_lost(toys: Toys) -> None:
    run = toys.create()
    assert refresh(run).state == "queued"


def test_console_log_has_what_everyone_printed(toys: Toys) -> None:
    run = toys.start(do="exit")
    wait_for_end(run)
    assert "about to leave" in Path(run.dir / "console.log").read_text()
