"""Comparisons as runs: children of their own, failures in the middle, stopping, resuming, and what is left when the job is killed."""

from __future__ import annotations

import os
import signal
from typing import Any

import pytest
from finetui.core.compare.table import table_of
from finetui.core.runs import control
from finetui.core.runs.launch import launch, resume
from finetui.core.runs.store import Run
from support import toycompare
from support.runs import TESTS, Toys, until, wait_for, wait_for_end
from support.toycompare import entry


def start(toys: Toys, *entries: Any, **keywords: Any) -> Run:
    run = toycompare.create(toys.store, list(entries), **keywords)
    toys.runs.append(run)
    launch(run)
    return run


def child(toys: Toys, run: Run, name: str) -> Run | None:
    found = next((one for one in toys.store.children(run) if one.spec.name == name), None)
    if found is not None and found.id not in {known.id for known in toys.runs}:
        toys.runs.append(found)
    return found


def rows(toys: Toys, run: Run) -> dict[str, dict[str, Any]]:
    return {row["label"]: row for row in table_of(toys.store, run)["rows"]}


def test_a_failing_and_a_refused_method_become_rows_and_the_rest_goes_on(toys: Toys) -> None:
    refusal = {"kind": "incompatible", "message": "no biases", "hint": "take lora"}
    run = start(toys, entry("a"), entry("bad", do="raise"), entry("never", error=refusal), entry("b"))
    assert wait_for_end(run, 60).state == "succeeded"
    table = table_of(toys.store, run)
    assert table == {**run.result().result, "state": "succeeded"}  # type: ignore[union-attr]
    assert [row["label"] for row in table["rows"]] == ["base", "a", "bad", "never", "b"]
    by = rows(toys, run)
    assert [by[name]["state"] for name in by] == ["evaluated", "succeeded", "failed", "refused", "succeeded"]
    assert "no answer" in by["bad"]["error"]["message"] and by["never"]["error"] == refusal
    assert (by["base"]["loss"], by["a"]["loss"], by["b"]["loss"], by["bad"]["loss"]) == (2.0, 1.0, 0.0, None)
    assert by["a"]["trainable_share"] == 0.1 and by["a"]["steps"] == 4
    kinds = [(one.spec.kind, one.spec.name, one.spec.parent) for one in toys.store.children(run)]
    assert kinds == [("train", "a", run.id), ("train", "bad", run.id), ("train", "b", run.id), ("evaluate", "cmp-eval", run.id)]
    starts = [one.spec.created for one in toys.store.children(run)]
    assert starts == sorted(starts)
    said = [event.message for event in run.events() if event.kind in ("child", "warning")]
    assert "never is left out: no biases" in said and any(line.startswith("bad failed: ") for line in said)


def test_stop_stops_the_child_and_resume_trains_nothing_twice(toys: Toys) -> None:
    run = start(toys, entry("a", steps=3), entry("b", steps=60, pause=0.05), entry("c", steps=3))
    second = until(lambda: child(toys, run, "b"), 30, "the second child")
    until(lambda: second.metrics(), 30, "its first step")
    live = rows(toys, run)
    assert (live["a"]["state"], live["b"]["state"] in ("starting", "running"), live["c"]["state"]) == ("succeeded", True, "waiting")
    control.stop(run)
    assert wait_for_end(run, 60).state == "stopped"
    assert second.state().state == "stopped"
    done = second.summary()["steps"]
    assert 0 < done < 60 and rows(toys, run)["b"]["state"] == "stopped"
    first = child(toys, run, "a")
    assert first is not None and first.state().attempt == 1

    resume(run)
    assert wait_for_end(run, 60).state == "succeeded"
    assert [one.spec.name for one in toys.store.children(run)] == ["a", "b", "c", "cmp-eval"]
    assert (first.state().attempt, second.state().attempt) == (1, 2)
    assert [line["step"] for line in second.metrics()] == list(range(1, 61))
    assert all(row["loss"] is not None for row in rows(toys, run).values())


def test_a_killed_job_leaves_children_that_the_next_attempt_finds(toys: Toys) -> None:
    run = start(toys, entry("a", steps=60, pause=0.05), entry("b", steps=3))
    first = until(lambda: child(toys, run, "a"), 30, "the first child")
    until(lambda: first.metrics(), 30, "its first step")
    os.kill(run.state().job.pid, signal.SIGKILL)  # type: ignore[union-attr]
    assert wait_for_end(run).state == "failed"
    wait_for(first, "running")
    resume(run)
    assert wait_for_end(run, 60).state == "succeeded"
    assert first.state().attempt == 1
    assert [one.spec.name for one in toys.store.children(run)] == ["a", "b", "cmp-eval"]


def test_stop_now_ends_a_child_that_does_not_listen(toys: Toys) -> None:
    run = start(toys, entry("deaf", do="hang"))
    deaf = until(lambda: child(toys, run, "deaf"), 30, "the child")
    wait_for(deaf, "running")
    control.stop(run, now=True)
    assert wait_for_end(run, 60).state == "stopped"
    assert wait_for_end(deaf, 30).state == "stopped"


def test_a_stop_during_the_evaluation_keeps_the_trainings(toys: Toys) -> None:
    run = start(toys, entry("a", steps=2), wait=True)
    evaluation = until(lambda: child(toys, run, "cmp-eval"), 30, "the evaluation")
    wait_for(evaluation, "running")
    control.stop(run)
    assert wait_for_end(run, 60).state == "stopped"
    resume(run)
    assert wait_for_end(run, 60).state == "succeeded"
    assert evaluation.state().attempt == 2 and rows(toys, run)["a"]["loss"] == 1.0


def test_nothing_trained_is_a_failure_and_resume_tries_again(toys: Toys) -> None:
    run = start(toys, entry("bad", do="raise"))
    state = wait_for_end(run, 60)
    assert state.state == "failed" and "no method could be trained; bad: " in state.error["message"]  # type: ignore[index]
    failed = child(toys, run, "bad")
    resume(run)
    assert wait_for_end(run, 60).state == "failed"
    assert failed is not None and failed.state().attempt == 2


def test_several_seeds_make_one_row_with_its_spread(toys: Toys) -> None:
    run = start(toys, entry("m-s0", label="m"), entry("m-s1", label="m", seed=1))
    assert wait_for_end(run, 60).state == "succeeded"
    row = rows(toys, run)["m"]
    assert row["seeds"] == 2 and len(row["runs"]) == 2
    assert row["loss"] == 0.5 and abs(row["spread"]["loss"] - 0.5**0.5) < 1e-9  # 1.0 and 0.0
    assert row["spread"]["steps"] == 0.0


def test_two_gpus_train_two_at_once(toys: Toys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(TESTS / "support" / "nvml_double"), str(TESTS)]))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    run = start(toys, *(entry(name, steps=20, pause=0.05) for name in "abc"), devices="1,3")
    assert wait_for_end(run, 60).state == "succeeded"
    states = [one.state() for one in toys.store.children(run) if one.spec.kind == "train"]
    first, second, third = states
    assert first.devices != second.devices and third.devices in (first.devices, second.devices)
    assert second.started < first.finished, "two at once"  # type: ignore[operator]
    assert third.started > min(first.finished, second.finished), "and no more"  # type: ignore[type-var]
