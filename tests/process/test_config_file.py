"""``-c FILE.toml``: what it supplies, what overrides it, and that a run's own file repeats the run."""

from __future__ import annotations

from pathlib import Path

from finetui.core.embedded import dataset
from support.cli import finetui, ok, refused, wait

RUN = """
model = "finetui-mini"
data = ["{data}"]
method = "lora"
learning_rate = 0.002
[set]
max_steps = 2
r = 4
lora_alpha = 64
"""


def options_of(*arguments: object) -> dict:
    """The options of a run that stays in the queue."""
    return ok("train", *arguments, "--detach", "--queue")["options"]


def test_the_command_line_overrides_the_file_key_by_key(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(RUN.format(data=dataset("json")))
    ok("queue", "pause")
    by_set = options_of("-c", file, "--set", "r=8")
    assert (by_set["r"], by_set["lora_alpha"], by_set["max_steps"], by_set["learning_rate"]) == (8, 64, 2, 0.002)
    by_flag = options_of("-c", file, "--r", 2, "--learning-rate", 0.001)
    assert (by_flag["r"], by_flag["lora_alpha"], by_flag["learning_rate"]) == (2, 64, 0.001)
    assert options_of("-c", file, "--set", "learning_rate=0.004")["learning_rate"] == 0.004
    refused("train", "-c", file, "--r", 2, "--set", "r=3", "--detach", code=2, says="given twice")


def test_a_runs_own_file_repeats_it(tmp_path: Path) -> None:
    data = ("--data", dataset("json"), "--eval-split", 0.2)
    first = ok("train", "--model", "finetui-mini", *data, "--method", "lora", "--max-steps", 3, "--set", "r=4", "--name", "one", "--detach")
    before = wait(first["run"])
    file = tmp_path / "again.toml"
    file.write_text(finetui("runs", "show", first["run"], "--toml").out)
    second = ok("train", "-c", file, "--name", "two", "--detach")
    after = wait(second["run"])
    assert after["options"] == before["options"]
    assert after["loss"] == before["loss"] and after["eval"] == before["eval"]


def test_options_of_parts_come_as_tables_flags_and_pairs(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        f'model = "finetui-mini"\ndata = ["{dataset("json")}"]\nmethod = "mam"\nmax_steps = 1\n'
        "prefix.num_virtual_tokens = 5\nprefix.encoder_hidden_size = 8\n[set]\nadapter.reduction_factor = 4\n"
    )
    first = ok("train", "-c", file, "--prefix.num-virtual-tokens", 6, "--set", "adapter.scaling=2.0", "--detach")
    expected = {
        "prefix.num_virtual_tokens": 6, "prefix.encoder_hidden_size": 8, "adapter.reduction_factor": 4, "adapter.scaling": 2.0,
        "adapter.variant": "parallel",
    }  # fmt: skip
    assert expected.items() <= first["options"].items()
    assert wait(first["run"])["state"] == "succeeded"
    again = tmp_path / "again.toml"
    again.write_text(finetui("runs", "show", first["run"], "--toml").out)
    second = ok("train", "-c", again, "--name", "two", "--detach")
    assert second["options"] == first["options"]
    wait(second["run"])
