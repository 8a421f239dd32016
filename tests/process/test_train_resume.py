"""Checkpoints: exact resume, damage, stopping, a full disk."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.catalog.manifest import read_manifest
from finetui.core.data.fingerprint import fingerprint
from finetui.core.errors import DiskError
from finetui.core.runs.job import Job
from finetui.core.runs.spec import TrainRequest
from finetui.core.worker.checkpoints import Checkpoints
from finetui.core.worker.loop import Loop
from finetui.core.worker.train import main, prepare
from safetensors.torch import load_file
from support.disks import leave, small_disk
from support.training import lines, losses, make_job, stopped, train, write_rows

OPTIONS: dict[str, Any] = {
    "eval_split": 0.25, "method_options": {"lora_dropout": 0.2},
    "training": {"max_steps": 10, "save_steps": 2, "save_total_limit": 3, "eval_steps": 5, "per_device_train_batch_size": 2},
}  # fmt: skip


@pytest.mark.parametrize("method", ["lora", "full", "qlora"])
def test_a_resumed_run_is_bitwise_an_undisturbed_one(base: Path, data: Path, method: str) -> None:
    options = {**OPTIONS, "method_options": OPTIONS["method_options"] if method != "full" else {}}
    whole, result = train(base, data, method, name="whole", **options)
    job = stopped(base, data, 5, method, **options)
    assert not Path(job.spec.request["output"]).exists()
    torch.rand(17)  # the state of the generators at the start does not matter
    resumed = main(job)
    job.close()
    assert losses(job) == losses(whole)
    assert [line["grad_norm"] for line in lines(job, "metrics.jsonl") if "loss" in line] == [
        line["grad_norm"] for line in lines(whole, "metrics.jsonl") if "loss" in line
    ]
    assert (resumed["tokens"], resumed["eval"]) == (result["tokens"], result["eval"])
    name = "model.safetensors" if method == "full" else "adapter_model.safetensors"
    expected, got = (load_file(Path(each["adapter"]) / name) for each in (result, resumed))
    assert all(torch.equal(tensor, got[key]) for key, tensor in expected.items())
    assert [event["data"]["step"] for event in lines(job, "events.jsonl") if event["kind"] == "resumed"] == [5]


def test_checkpoints_are_safetensors_and_json_only(base: Path, data: Path) -> None:
    job, _ = train(base, data, **OPTIONS)
    names = {path.name for folder in job.checkpoints.iterdir() for path in folder.iterdir()}
    assert names == {"trainable.safetensors", "optimizer.safetensors", "random.safetensors", "state.json"}


def test_the_limit_and_the_best_are_kept(base: Path, data: Path) -> None:
    training = {**OPTIONS["training"], "save_total_limit": 1}
    job, result = train(base, data, **{**OPTIONS, "training": training})
    best = result["eval"]["step"]
    newest_other = 8 if best == 10 else 10
    assert {int(path.name[5:]) for path in job.checkpoints.iterdir()} == {best, newest_other}


@pytest.mark.parametrize("damage", ["truncate", "flip", "remove", "state"])
def test_a_damaged_checkpoint_is_passed_over_with_a_warning(base: Path, data: Path, damage: str) -> None:
    whole, _ = train(base, data, name="whole", **OPTIONS)
    job = stopped(base, data, 7, **OPTIONS)
    newest = job.checkpoints / "step-00000007"
    target = newest / ("state.json" if damage == "state" else "optimizer.safetensors")
    content = target.read_bytes()
    if damage == "remove":
        target.unlink()
    elif damage == "flip":
        target.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    else:
        target.write_bytes(content[: len(content) // 2])
    main(job)
    job.close()
    events = lines(job, "events.jsonl")
    assert any(event["kind"] == "warning" and "damaged" in event["message"] for event in events)
    assert [event["data"]["step"] for event in events if event["kind"] == "resumed"] == [6]
    steps = {line["step"]: line["loss"] for line in lines(job, "metrics.jsonl") if "loss" in line}
    assert list(steps.values()) == losses(whole)


def test_a_damaged_checkpoint_pushes_no_sound_one_out(tmp_path: Path) -> None:
    store = Checkpoints(tmp_path, 1)
    store.path(9).mkdir()
    store.set_aside(9)
    assert store.steps() == [] and [path.name for path in tmp_path.iterdir()] == [".damaged-step-00000009"]
    store.path(9).mkdir()
    store.set_aside(9)
    store.remove_damaged()
    assert list(tmp_path.iterdir()) == []


def test_a_stop_during_an_evaluation_leaves_it_and_resume_makes_up_for_it(base: Path, data: Path) -> None:
    whole, result = train(base, data, name="whole", **OPTIONS)
    job = stopped(base, data, 5, **OPTIONS)
    assert not any("eval_loss" in line for line in lines(job, "metrics.jsonl"))
    resumed = main(job)
    evaluations = [[line["eval_loss"] for line in lines(each, "metrics.jsonl") if "eval_loss" in line] for each in (whole, job)]
    assert evaluations[0] == evaluations[1] and resumed["eval"] == result["eval"]


def test_data_that_changed_or_went(base: Path, data: Path) -> None:
    """The manifest names what was read; a resumed run that reads something else says so."""
    job = stopped(base, data, 3, **OPTIONS)
    expected = fingerprint([write_rows(data, times=3)])
    original = job.progress

    def progress(done: int, total: int, unit: str) -> None:
        original(done, total, unit)
        data.unlink(missing_ok=True)

    job.progress = progress  # type: ignore[method-assign]
    result = main(job)
    assert "the data is not what it was up to step 3" in (job.dir / "events.jsonl").read_text()
    manifest = read_manifest(Path(result["adapter"]))
    assert manifest is not None and manifest.data.digest == expected


def test_checkpoints_by_the_clock(base: Path, data: Path) -> None:
    job, _ = train(base, data, training={"max_steps": 4, "save_steps": 100, "save_minutes": 1e-9})
    assert [event["data"]["step"] for event in lines(job, "events.jsonl") if event["kind"] == "checkpoint"] == [1, 2, 3, 4]


def test_without_any_whole_checkpoint_it_starts_over(base: Path, data: Path) -> None:
    job = stopped(base, data, 3, **OPTIONS)
    for folder in job.checkpoints.iterdir():
        (folder / "trainable.safetensors").write_bytes(b"x")
    result = main(job)
    assert result["steps"] == 10
    assert not any(event["kind"] == "resumed" for event in lines(job, "events.jsonl"))


def test_a_checkpoint_on_request(base: Path, data: Path) -> None:
    job = make_job(base, data, training={"max_steps": 4, "save_steps": 100})
    (job.dir / "control" / "checkpoint").touch()
    main(job)
    assert [event["data"]["step"] for event in lines(job, "events.jsonl") if event["kind"] == "checkpoint"] == [1, 4]


def test_left_overs_of_a_killed_save_are_removed(tmp_path: Path) -> None:
    (tmp_path / "checkpoints" / ".step-00000004.abcdef").mkdir(parents=True)
    store = Checkpoints(tmp_path / "checkpoints", 2)
    assert list(store.folder.iterdir()) == []


def test_a_run_killed_after_publishing_ends_with_what_it_published(base: Path, data: Path) -> None:
    job, result = train(base, data, **OPTIONS)
    before = (Path(result["adapter"]) / "finetui.json").read_bytes()
    again = main(Job(job.dir))
    assert again["adapter"] == result["adapter"]
    assert (Path(result["adapter"]) / "finetui.json").read_bytes() == before


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "600k") as disk:
        yield disk


@pytest.mark.parametrize("method", ["lora", "full"])
def test_a_full_disk_while_publishing_leaves_nothing_half_written(base: Path, data: Path, disk: Path, method: str) -> None:
    (disk / "filler").write_bytes(bytes(500 * 1024))
    job = make_job(base, data, method, output=str(disk / "result"), training={"max_steps": 2})
    with pytest.raises(DiskError) as problem:
        main(job)
    assert "space" in problem.value.message.lower() + problem.value.hint
    assert [path.name for path in disk.iterdir()] == ["filler"]
    (disk / "filler").unlink()
    again = main(Job(job.dir))
    assert again["steps"] == 2
    assert (disk / "result").is_dir()


@pytest.fixture
def loop(base: Path, data: Path, disk: Path) -> Loop:
    """A training that has done one step, its checkpoints on the small disk: about 60 kB each, and three kept."""
    job = make_job(base, data, training={"max_steps": 9, "save_total_limit": 3}, method_options={"r": 4})
    loop = prepare(job, job.request(TrainRequest))
    loop.checkpoints = Checkpoints(disk / "checkpoints", 3)
    loop.model.train()
    step_and_save(loop)
    return loop


def step_and_save(loop: Loop) -> None:
    loop.train_step()
    loop.save_checkpoint()


def test_a_checkpoint_without_room_is_not_begun(loop: Loop, disk: Path) -> None:
    leave(disk, 20_000)
    with pytest.raises(DiskError, match=r"kB are free, a checkpoint needs \d+ kB"):
        step_and_save(loop)
    assert [path.name for path in loop.checkpoints.folder.iterdir()] == ["step-00000001"]
    assert loop.checkpoints.read(1).progress.step == 1


def test_a_disk_that_fills_up_while_checkpointing_keeps_the_earlier_ones(loop: Loop, disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else takes the room after it was looked for."""
    monkeypatch.setattr(loop.checkpoints, "make_room", lambda *_: [])
    leave(disk, 20_000)
    with pytest.raises(DiskError):
        step_and_save(loop)
    assert [path.name for path in loop.checkpoints.folder.iterdir()] == ["step-00000001"]
    assert loop.checkpoints.read(1).progress.step == 1


def test_old_checkpoints_make_room_for_a_new_one(loop: Loop, disk: Path) -> None:
    """The best stays, and what is damaged goes first."""
    loop.progress.best_step = 1
    for _ in range(2, 5):
        step_and_save(loop)
    loop.checkpoints.set_aside(2)
    size = sum(path.stat().st_size for path in loop.checkpoints.path(1).iterdir())
    leave(disk, 70_000)
    step_and_save(loop)
    assert loop.checkpoints.steps() == [1, 3, 4, 5] and size > 30_000
    (disk / "filler").unlink()
    leave(disk, 70_000)
    step_and_save(loop)
    assert loop.checkpoints.steps() == [1, 4, 5, 6]
