"""Every bad input gets a clear error, its exit code, and leaves nothing half-written."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.cli import finetui, ok, refused, wait
from support.disks import leave, small_disk
from support.models import tiny_model

ROWS = [{"instruction": f"say {word}", "input": "", "output": f"{word}!"} for word in "one two three four five six seven eight".split()]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    path = tmp_path / "data.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.fixture(autouse=True)
def nothing_left(tmp_path: Path):
    """After each refusal the home has no result, not even half of one."""
    yield
    home = tmp_path / "home"
    left = [path for folder in ("adapters", "models") for path in (home / folder).glob("*") if (home / folder).exists()]
    assert [path for path in left if path.name != "kept"] == []


def train(*arguments: object, model: Path, data: Path) -> tuple[object, ...]:
    return ("train", "--model", model, "--data", data, "--method", "lora", "--set", "max_steps=1", "--detach", *arguments)


def test_missing_weights(base: Path, data: Path) -> None:
    (base / "model.safetensors").unlink()
    refused(*train(model=base, data=data), code=3, says="model.safetensors")


def test_truncated_safetensors(base: Path, data: Path) -> None:
    weights = base / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    refused(*train(model=base, data=data), code=4, says=str(weights))


def test_garbage_safetensors(base: Path, data: Path) -> None:
    (base / "model.safetensors").write_bytes(b"not a safetensors file at all, but long enough to look like one")
    refused(*train(model=base, data=data), code=4, says="model.safetensors")


def test_pickle_weights(base: Path, data: Path) -> None:
    (base / "model.safetensors").rename(base / "pytorch_model.bin")
    done = refused(*train(model=base, data=data), code=4, says="pytorch_model.bin")
    assert json.loads(done.out)["error"]["kind"] == "unsafe"


def test_no_tokenizer(base: Path, data: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (base / name).unlink(missing_ok=True)
    refused(*train(model=base, data=data), code=4, says="no tokenizer")


def test_broken_config(base: Path, data: Path) -> None:
    (base / "config.json").write_text('{"model_type": ')
    refused(*train(model=base, data=data), code=4, says="config.json")


def test_malformed_jsonl_names_file_and_line(base: Path, data: Path) -> None:
    lines = data.read_text().splitlines()
    lines[4] = lines[4][:-5]
    data.write_text("\n".join(lines))
    refused(*train(model=base, data=data), code=2, says=f"{data}:5")
    check = finetui("data", "check", data, "--json")
    assert check.code == 2
    assert check.json["problems"][0]["source"].endswith("data.jsonl:5")


def test_wrong_columns(base: Path, data: Path) -> None:
    data.write_text(json.dumps({"instuction": "x", "reply": "y"}) + "\n")
    refused(*train(model=base, data=data), code=2, says="instuction")


def test_empty_dataset(base: Path, data: Path) -> None:
    data.write_text("")
    refused(*train(model=base, data=data), code=2, says="empty")


def test_missing_data(base: Path, tmp_path: Path) -> None:
    refused(*train(model=base, data=tmp_path / "nowhere.jsonl"), code=3, says="nowhere.jsonl")


def test_unknown_model(data: Path) -> None:
    refused(*train(model=Path("finetui-mni"), data=data), code=3, says="finetui-mini")


def test_unknown_method(base: Path, data: Path) -> None:
    refused("train", "--model", base, "--data", data, "--method", "lorra", "--detach", code=3, says="'lora'")


def test_unknown_option(base: Path, data: Path) -> None:
    refused(*train("--set", "lora_alhpa=3", model=base, data=data), code=2, says="'lora_alpha'")


def test_option_out_of_range(base: Path, data: Path) -> None:
    refused(*train("--set", "r=0", model=base, data=data), code=2, says="below its minimum")


def test_name_taken(base: Path, data: Path, tmp_path: Path) -> None:
    (tmp_path / "home" / "adapters" / "kept").mkdir(parents=True)
    refused(*train("--name", "kept", model=base, data=data), code=4, says="'kept' is taken")


def test_adapter_of_another_base(base: Path, data: Path, tmp_path: Path) -> None:
    row = wait(ok(*train("--name", "kept", model=base, data=data))["run"])
    assert row["state"] == "succeeded", row["error"]
    other = tiny_model(tmp_path / "other", "qwen2", seed=1)
    out = tmp_path / "merged"
    for command in (
        ("generate", "--model", other, "--adapter", "kept", "--prompt", "x"),
        ("eval", "--model", other, "--adapter", "kept", "--data", data),
        ("merge", "--model", other, "--adapter", "kept", "--out", out),
    ):
        done = refused(*command, code=4, says="kept")
        assert json.loads(done.out)["error"]["kind"] == "incompatible"
    assert not out.exists()


def test_import_of_a_pickle_adapter(tmp_path: Path) -> None:
    folder = tmp_path / "pickled"
    folder.mkdir()
    (folder / "adapter_config.json").write_text('{"peft_type": "LORA", "r": 4, "base_model_name_or_path": "x"}')
    (folder / "adapter_model.bin").write_bytes(b"\x80\x04.")
    refused("adapters", "import", folder, code=4, says="adapter_model.bin")


def test_does_not_fit(data: Path) -> None:
    done = finetui("plan", "--model", "finetui-mini", "--method", "full", "--memory", "1MB", "--json")
    assert done.code == 0 and done.json["fits"] is False and done.json["advice"]


def test_launching_what_cannot_fit_is_refused(base: Path, data: Path) -> None:
    """An adapter of so high a rank that no machine of today holds it; the hint says what would fit."""
    done = refused(*train("--set", "r=20000000", model=base, data=data), code=4, says="needs about")
    assert json.loads(done.out)["error"]["kind"] == "does_not_fit"


def test_usage_errors_of_the_command_line(tmp_path: Path) -> None:
    refused("trian", code=2, says="'train'")
    refused("train", "--modle", "x", code=2, says="--model")
    refused("runs", "show", "NOPE", code=3, says="no run")
    bad = tmp_path / "bad.toml"
    bad.write_text("model = \n")
    refused("train", "-c", bad, code=2, says="line 1")
    bad.write_text('modle = "x"\n')
    refused("train", "-c", bad, code=2, says="'model'")


def test_questions_are_refused_without_a_terminal(tmp_path: Path) -> None:
    folder = tmp_path / "home" / "adapters" / "kept"
    folder.mkdir(parents=True)
    refused("adapters", "remove", "kept", code=2, says="--yes")
    shutil.rmtree(folder)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    with small_disk(tmp_path, "4m") as disk:
        yield disk


def test_no_space_for_what_it_will_write_is_refused_before_it_starts(base: Path, data: Path, disk: Path) -> None:
    leave(disk, 1_000_000)
    big = train("--set", "r=256", model=base, data=data)
    done = refused(*big, "--home", disk, code=4, says="are free, a checkpoint (")
    assert json.loads(done.out)["error"]["kind"] == "does_not_fit" and "--home" in json.loads(done.out)["error"]["hint"]
    assert list((disk / "runs").iterdir()) == []


def test_no_space_while_saving(base: Path, data: Path, disk: Path) -> None:
    """The disk fills up once the run has started: it fails with the disk's error and publishes nothing."""
    run = ok(*train("--set", "r=64", model=base, data=data), "--home", disk)["run"]
    filler = leave(disk, 300_000)
    row = wait(run, "--home", disk)
    assert row["state"] == "failed"
    assert row["error"]["kind"] == "disk" and "a checkpoint needs" in row["error"]["message"], row["error"]
    assert list((disk / "adapters").iterdir()) == []
    assert "a checkpoint needs" in finetui("runs", "logs", run, "--home", disk).out
    filler.unlink()
    ok("runs", "resume", run, "--home", disk)
    assert wait(run, "--home", disk)["state"] == "succeeded"


def test_a_damaged_run_does_not_hide_the_others(base: Path, data: Path, tmp_path: Path) -> None:
    row = wait(ok(*train("--name", "kept", model=base, data=data))["run"])
    hurt = wait(ok("eval", "--model", base, "--data", data, "--detach")["run"])
    state = tmp_path / "home" / "runs" / hurt["run"] / "state.json"
    for damage in (state.unlink, lambda: state.write_text("{")):
        damage()
        rows = {run["run"]: run["state"] for run in ok("runs", "list")}
        assert rows == {row["run"]: "succeeded", hurt["run"]: "lost"}
    assert ok("runs", "show", row["run"])["state"] == "succeeded"
    ok("runs", "remove", hurt["run"], "--yes")
    assert len(ok("runs", "list")) == 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("--set", "learning_rate=inf"), "not a finite number"),
        (("--seed", "-1"), "--seed is -1"),
        (("--set", "bf16=true", "--set", "fp16=true"), "both on"),
        (("--set", "max_steps=0"), "zero steps"),
    ],
)
def test_values_that_cannot_work_are_refused_before_the_launch(base: Path, data: Path, words: tuple[str, ...], says: str) -> None:
    # The last --set of a key wins, so these stand after the ordinary ones.
    refused("train", "--model", base, "--data", data, "--method", "lora", "--detach", *words, code=2, says=says)


def test_evaluation_data_of_another_kind(base: Path, data: Path, tmp_path: Path) -> None:
    text = tmp_path / "text.txt"
    text.write_text("Just running text.\n\nMore of it.\n")
    refused(*train("--eval-data", text, model=base, data=data), code=2, says="running text")


def test_an_unusable_home_is_reported_and_doctor_still_answers(tmp_path: Path) -> None:
    home = tmp_path / "file"
    home.write_text("")
    refused("models", "list", "--home", home, code=1, says="FINETUI_HOME")
    done = finetui("doctor", "--home", home, "--json")
    assert done.code == 1
    assert {row["name"]: row["state"] for row in done.json}["home"] == "fail"


def test_arguments_that_are_not_text() -> None:
    import os
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-m", "finetui", "generate", "--prompt", os.fsdecode(b"\xff")], capture_output=True, text=True)
    assert done.returncode == 2 and "not valid UTF-8" in done.stderr


def test_json_may_stand_anywhere() -> None:
    for words in (("--json", "models", "list"), ("models", "--json", "list"), ("models", "list", "--json")):
        assert json.loads(finetui(*words).out)[0]["name"] == "finetui-mini"
