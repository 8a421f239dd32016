"""Runs of several processes: how many there are, how they are started, and whose error a run ends with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from finetui.core.errors import ProcessLost, UsageError
from finetui.core.fsio import write_json
from finetui.core.runs import ranks
from finetui.core.runs.spec import Result, RunSpec
from finetui.core.training import TrainingOptions, require_processes
from finetui.core.worker.launcher import cause_of
from torch.distributed.elastic.multiprocessing.errors import ProcessFailure

LOST = ProcessLost("another process of the run went away: Connection closed by peer").to_dict()


def spec(kind: Any = "train", **training: Any) -> RunSpec:
    return RunSpec(run="01R", kind=kind, name="n", request={"training_options": training}, created=0.0, host="h", version="0")


@pytest.mark.parametrize(
    ("run", "devices", "count"),
    [
        (spec(), ["cpu"], 1),
        (spec(num_processes=3), ["cpu"], 3),
        (spec(), ["GPU-a"], 1),
        (spec(), ["GPU-a", "GPU-b"], 2),
        (spec("evaluate"), ["GPU-a", "GPU-b"], 1),
        (spec("compare"), ["cpu"], 1),
    ],
)
def test_a_process_a_device(run: RunSpec, devices: list[str], count: int) -> None:
    assert ranks.process_count(run, devices) == count


def test_the_launcher_is_told_the_module_and_the_number() -> None:
    folder, alone = Path("/runs/01R"), ranks.job_arguments(spec(), Path("/runs/01R"), ["GPU-a"])
    assert alone == ["finetui.core.worker.train", "/runs/01R"]
    assert ranks.job_arguments(spec(), folder, ["GPU-a", "GPU-b"]) == [ranks.LAUNCHER, "/runs/01R", "finetui.core.worker.train", "2"]


def test_a_rank_knows_itself_by_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    assert ranks.own_rank("01R") is None  # a terminal inside somebody else's torchrun
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "01R")
    assert ranks.own_rank("01R") == 1


def test_processes_are_for_the_cpu() -> None:
    require_processes(TrainingOptions(num_processes=4), "cpu", 1)
    require_processes(TrainingOptions(num_processes=2), "cuda", 2)
    with pytest.raises(UsageError, match="one process for each GPU, here 1"):
        require_processes(TrainingOptions(num_processes=2), "cuda", 1)


def failed(folder: Path, said: dict[int, dict[str, str]], codes: dict[int, int], *, out_of_memory: bool = False) -> dict[str, str]:
    """The error of a run whose ranks ended with these codes, those in ``said`` with a word, one after the other."""
    ranks.fresh_folder(folder)
    for number, (rank, error) in enumerate(said.items()):
        write_json(ranks.result_file(folder, rank), Result(state="failed", attempt=1, finished=float(number), error=error))
    failures = {rank: ProcessFailure(rank, 1, code, "") for rank, code in codes.items()}
    for failure in failures.values():
        failure.timestamp = int(time.time())
    return cause_of(folder, failures, out_of_memory=out_of_memory).to_dict()


def test_the_first_error_that_is_no_consequence_is_the_runs(tmp_path: Path) -> None:
    memory = {"kind": "out_of_memory", "message": "out of memory: 2 GiB", "hint": "less"}
    assert failed(tmp_path, {0: LOST, 1: memory}, {0: 1, 1: 1}) == {**memory, "message": "rank 1: out of memory: 2 GiB"}
    bug = {"kind": "failed", "message": "ValueError: x", "hint": ""}
    assert failed(tmp_path, {1: bug, 0: memory}, {0: 1, 1: 1})["message"] == "rank 1: ValueError: x\nrank 0: out of memory: 2 GiB"


def test_what_every_rank_says_is_said_once(tmp_path: Path) -> None:
    data = {"kind": "data", "message": "rows.jsonl:3: no answer", "hint": ""}
    assert failed(tmp_path, {0: data, 1: data}, {0: 2, 1: 2}) == data
    assert failed(tmp_path, {0: data}, {0: 2, 1: -15}) == data
    diverged = {"kind": "failed", "message": "training diverged", "hint": ""}
    assert failed(tmp_path, {0: diverged, 1: diverged}, {0: 1, 1: 1}) == diverged


def test_a_rank_that_left_no_word(tmp_path: Path) -> None:
    killed = {0: -15, 1: -9}
    assert failed(tmp_path, {0: LOST}, {0: 1, 1: -9})["message"] == "rank 1 was killed by SIGKILL"
    assert failed(tmp_path, {}, killed)["message"] == "rank 1 was killed by SIGKILL"
    assert failed(tmp_path, {}, killed, out_of_memory=True)["kind"] == "out_of_memory"
    assert failed(tmp_path, {0: LOST}, {0: 1, 1: 7})["message"] == "rank 1 ended with exit code 7 and no result"
    assert failed(tmp_path, {0: LOST}, {0: 1})["kind"] == "process_lost"
