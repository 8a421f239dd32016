"""GPUs that several runs share when asked, and sessions, which lease one too."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from finetui.core.errors import DeviceBusy
from finetui.core.runs import leases
from finetui.core.runs.placing import lease_one
from finetui.core.runs.queue import Queue
from finetui.core.session import WorkerSession
from support import cli
from support.gpus import GB, Gpus, uuid
from support.runs import Toys, hold, stop_and_wait, until, wait_for_end


def test_small_runs_share_a_gpu_when_asked(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    first = hold(toys, "2", share_gpu=True, planned_memory_bytes=30 * GB)
    second = hold(toys, "2", share_gpu=True, planned_memory_bytes=30 * GB)
    third = toys.start("third", gpus="2", share_gpu=True, planned_memory_bytes=30 * GB, steps=1)
    assert third.state().reason == "waiting for 30.0 GB free on GPU 2", "two that are loading have spoken for 60 of 80 GB"
    alone = toys.start("alone", gpus="2", steps=1)
    assert alone.state().state == "queued"
    assert len(leases.sharers(uuid(2))) == 2
    stop_and_wait(first)
    assert wait_for_end(third).state == "succeeded"
    assert until(lambda: "taken by run" in alone.state().reason and second.id in alone.state().reason)
    stop_and_wait(second)
    assert wait_for_end(alone).state == "succeeded"


def test_sharers_take_the_gpu_with_most_room(toys: Toys, gpus: Gpus, queue: Queue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    gpus.use(gpu0=10)
    runs = [hold(toys, "auto", share_gpu=True, planned_memory_bytes=30 * GB) for _ in range(4)]
    assert [run.state().devices for run in runs] == [[uuid(1)], [uuid(1)], [uuid(0)], [uuid(0)]]
    for run in runs:
        stop_and_wait(run)


def test_a_session_has_a_gpu_for_itself_and_says_who_it_is(toys: Toys, gpus: Gpus, queue: Queue) -> None:
    with WorkerSession(gpus="5", what="chat") as session:
        environment = Path(f"/proc/{session.pid}/environ")
        # Empty for a moment: the kernel closes the old program's files, which Popen waits for, before it sets up the new one's.
        assert f"CUDA_VISIBLE_DEVICES={uuid(5)}".encode() in until(lambda: environment.read_bytes().strip(b"\0")).split(b"\0")
        run = toys.start("next", gpus="5", steps=1)
        assert run.state().reason.startswith(f"waiting for GPU 5, taken by chat, process {os.getpid()} of ")
        with pytest.raises(DeviceBusy, match="generate needs GPU 5, taken by chat") as refusal:
            WorkerSession(gpus="5", what="generate")
        assert refusal.value.exit_code == 4 and "--share-gpu" in refusal.value.hint
        with WorkerSession(gpus="auto") as other:
            assert other.alive and leases.alone(uuid(5)) != leases.alone(uuid(0))
    assert wait_for_end(run).state == "succeeded", "the lease ends with the worker"


def test_sessions_share_when_asked(gpus: Gpus) -> None:
    with WorkerSession(gpus="2", share_gpu=True, memory=50 * GB, what="chat"):
        with WorkerSession(gpus="2", share_gpu=True, memory=20 * GB, what="chat"):
            assert [sharer.reserved for sharer in leases.sharers(uuid(2))] == [50 * GB, 20 * GB]
        with pytest.raises(DeviceBusy, match="40.0 GB free on GPU 2"):
            WorkerSession(gpus="2", share_gpu=True, memory=40 * GB)
        with pytest.raises(DeviceBusy, match="taken by chat"):
            WorkerSession(gpus="2", memory=1 * GB)


def test_where_every_gpu_is_taken_the_refusal_names_the_holders(
    toys: Toys, gpus: Gpus, queue: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1")
    first, second = hold(toys, "0"), lease_one("1", 0, "serve")
    done = cli.refused("generate", "--model", "finetui-mini", "--prompt", "x", code=4, says="every one is taken")
    assert first.id in done.err and "serve, process" in done.err and "--gpus none" in done.err
    second.release()
    stop_and_wait(first)
    until(lambda: leases.alone(uuid(0)) is None)
