"""Creating, finding, listing, removing and summarising runs, from their files alone."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest
from finetui.core.errors import CorruptFile, NotFound, Refused, UsageError
from finetui.core.fsio import FileLock, JsonlWriter, write_json
from finetui.core.paths import Home
from finetui.core.runs.spec import EvaluateRequest, Event, ProcessIdentity, Result, RunState, TrainRequest
from finetui.core.runs.store import Run, RunStore

SUMMARY_KEYS = {
    "run", "kind", "name", "state", "method", "model", "data", "options", "trainable_parameters", "total_parameters", "steps",
    "total_steps", "tokens", "tokens_per_second", "peak_memory_bytes", "planned_memory_bytes", "loss", "eval", "adapter", "pid",
    "supervisor_pid", "host", "devices", "created", "started", "finished", "error", "attempt",
}  # fmt: skip


@pytest.fixture
def store(tmp_path: Path) -> RunStore:
    return RunStore(Home(tmp_path / "home").create())


def train_request(**changes: object) -> TrainRequest:
    values = {
        "model": "tiny", "model_path": "/models/tiny", "base_model_name_or_path": "org/tiny", "data": ["/data/a.jsonl"],
        "method": "lora", "method_options": {"r": 4}, "training_options": {"max_steps": 10}, "name": "pirate",
        "output": "/home/adapters/pirate", "planned_memory_bytes": 1000,
    }  # fmt: skip
    return TrainRequest(**{**values, **changes})  # type: ignore[arg-type]


def test_created_run_is_queued_and_whole(store: RunStore) -> None:
    run = store.create("train", "pirate", train_request())
    assert run.state().state == "queued" and run.spec.request["method_options"] == {"r": 4}
    assert sorted(path.name for path in run.dir.iterdir()) == ["checkpoints", "control", "lock", "spec.json", "state.json"]
    again = store.get(run.id)
    assert again.spec == run.spec and again.dir == run.dir


def test_found_by_id_beginning_and_name(store: RunStore) -> None:
    first = store.create("train", "pirate", train_request())
    time.sleep(0.002)
    second = store.create("evaluate", "eval", EvaluateRequest(model="tiny", model_path="/m", data=["/d"]))
    assert store.get(first.id.lower()).id == first.id
    assert store.get("pirate").id == first.id and store.get("eval").id == second.id
    length = next(n for n in range(1, 27) if first.id[:n] != second.id[:n])
    assert store.get(first.id[:length]).id == first.id
    with pytest.raises(UsageError, match="2 runs") as ambiguous:
        store.get(first.id[: length - 1])
    assert first.id in ambiguous.value.hint
    assert [run.id for run in store.list()] == [second.id, first.id]
    assert [run.id for run in store.list("train")] == [first.id]


def test_name_of_two_runs_is_ambiguous(store: RunStore) -> None:
    for _ in range(2):
        store.create("train", "pirate", train_request())
    with pytest.raises(UsageError, match="'pirate' is the name of 2 runs"):
        store.get("pirate")


@pytest.mark.parametrize("word", ["pirat", "", "..", "/", "zzz"])
def test_unknown_run(store: RunStore, word: str) -> None:
    store.create("train", "pirate", train_request())
    with pytest.raises(NotFound) as caught:
        store.get(word)
    assert ("pirate" in caught.value.hint) or word != "pirat"


def test_folders_that_are_no_runs_do_not_disturb(store: RunStore) -> None:
    run = store.create("train", "pirate", train_request())
    (store.home.runs / "stray").mkdir()
    broken = store.home.runs / "01BROKEN"
    broken.mkdir()
    (broken / "spec.json").write_text("{")
    assert [other.id for other in store.list()] == [run.id]
    with pytest.raises(CorruptFile, match=r"spec\.json"):
        store.get("01broken")


def test_home_without_runs_is_empty(tmp_path: Path) -> None:
    assert RunStore(Home(tmp_path / "absent")).list() == []


def test_remove(store: RunStore) -> None:
    run = store.create("train", "pirate", train_request())
    lock = FileLock(run.dir / "lock")
    assert lock.acquire()
    with pytest.raises(Refused):
        store.remove(run)
    lock.release()
    write_json(run.dir / "state.json", RunState(state="running"))
    with pytest.raises(Refused, match="running"):
        store.remove(run)
    write_json(run.dir / "state.json", RunState(state="failed"))
    store.remove(run)
    assert list(store.home.runs.iterdir()) == []


def test_remove_waits_for_a_supervisor_that_is_leaving(store: RunStore, monkeypatch: pytest.MonkeyPatch) -> None:
    run = store.create("train", "pirate", train_request())
    write_json(run.dir / "state.json", RunState(state="stopped"))
    lock = FileLock(run.dir / "lock")
    assert lock.acquire()
    leaving = threading.Timer(0.2, lock.release)
    leaving.start()
    store.remove(run)
    leaving.join()
    assert list(store.home.runs.iterdir()) == []
    monkeypatch.setattr("finetui.core.runs.store._LEAVING_SECONDS", 0.1)
    run = store.create("train", "pirate", train_request())
    write_json(run.dir / "state.json", RunState(state="stopped"))
    lock = FileLock(run.dir / "lock")
    assert lock.acquire()
    with pytest.raises(Refused, match="its supervisor is still there"):
        store.remove(run)
    lock.release()


def finished(store: RunStore) -> Run:
    """A run as a job leaves it, written by hand."""
    run = store.create("train", "pirate", train_request())
    with JsonlWriter(run.dir / "events.jsonl") as events:
        data = {"trainable_parameters": 5, "total_parameters": 50, "total_steps": 10}
        events.append(Event(seq=1, time=1.0, kind="prepared", message="", data=data))
        events.append(Event(seq=2, time=2.0, kind="evaluation", message="", data={"step": 10, "loss": 2.5}))
    with JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        for step in range(1, 11):
            metrics.append({"step": step, "loss": 3.0 - step / 10, "tokens": step * 100, "tokens_per_second": 50.0, "attempt": 1})
        metrics.append({"step": 10, "eval_loss": 2.5, "attempt": 1})
    result = {"adapter": "/home/adapters/pirate", "peak_memory_bytes": 900, "steps": 10}
    write_json(run.dir / "result.json", Result(state="succeeded", attempt=1, finished=3.0, result=result))
    write_json(run.dir / "state.json", RunState(state="succeeded", started=1.0, finished=3.25, devices=["cpu"]))
    return run


def test_summary_of_a_finished_run(store: RunStore) -> None:
    summary = finished(store).summary()
    assert set(summary) >= SUMMARY_KEYS
    expected = {
        "state": "succeeded", "method": "lora", "model": "tiny", "data": ["/data/a.jsonl"], "options": {"r": 4, "max_steps": 10},
        "trainable_parameters": 5, "total_parameters": 50, "steps": 10, "total_steps": 10, "tokens": 1000, "tokens_per_second": 50.0,
        "peak_memory_bytes": 900, "planned_memory_bytes": 1000, "loss": 2.0, "eval": {"step": 10, "loss": 2.5},
        "adapter": "/home/adapters/pirate", "pid": None, "devices": ["cpu"], "error": None, "attempt": 1,
        "started": "1970-01-01T00:00:01.000Z", "finished": "1970-01-01T00:00:03.250Z",
    }  # fmt: skip
    assert {key: summary[key] for key in expected} == expected


def test_summary_of_a_run_that_has_not_started(store: RunStore) -> None:
    summary = store.create("train", "pirate", train_request()).summary()
    assert set(summary) >= SUMMARY_KEYS
    assert (summary["state"], summary["steps"], summary["loss"], summary["adapter"], summary["started"]) == ("queued", 0, None, None, None)


def test_summary_names_the_processes_of_an_active_run(store: RunStore) -> None:
    run = store.create("train", "pirate", train_request())
    job = ProcessIdentity(host="h", pid=42, start_time=1, boot_id="b")
    write_json(run.dir / "state.json", RunState(state="running", job=job, supervisor=ProcessIdentity("h", 41, 1, "b")))
    assert (run.summary()["pid"], run.summary()["supervisor_pid"]) == (42, 41)


def test_result_of_an_earlier_attempt_is_not_this_one_s(store: RunStore) -> None:
    run = finished(store)
    write_json(run.dir / "state.json", RunState(state="running", attempt=2))
    assert run.result() is None and run.summary()["adapter"] is None


def test_summary_of_a_long_run_is_quick(store: RunStore) -> None:
    run = store.create("train", "pirate", train_request())
    with JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        for step in range(1, 50_001):
            metrics.append({"step": step, "loss": 1.0, "learning_rate": 1e-4, "grad_norm": 0.5, "tokens": step, "tokens_per_second": 5.0})
    began = time.perf_counter()
    assert run.summary()["steps"] == 50_000
    assert time.perf_counter() - began < 0.05


def test_metrics_leave_out_what_a_later_attempt_trained_again(store: RunStore) -> None:
    run = store.create("train", "pirate", train_request())
    with JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        for attempt, first, last in ((1, 1, 8), (2, 6, 9), (3, 9, 10)):
            for step in range(first, last + 1):
                metrics.append({"step": step, "loss": float(attempt), "attempt": attempt})
    lines = run.metrics()
    assert [line["step"] for line in lines] == list(range(1, 11))
    assert [line["attempt"] for line in lines] == [1] * 5 + [2] * 3 + [3] * 2


def test_readers_skip_a_torn_last_line(store: RunStore) -> None:
    run = finished(store)
    for name in ("events.jsonl", "metrics.jsonl"):
        with open(run.dir / name, "ab") as file:
            file.write(b'{"step":11,"loss":')
    assert len(run.events()) == 2 and len(run.metrics()) == 11 and run.last_metrics()["step"] == 10
