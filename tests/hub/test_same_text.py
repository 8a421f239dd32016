"""The promise behind push and pull: what was published says the same on another machine."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from finetui.core.embedded import BASE_MODEL_NAME, base_model_dir
from support.folders import make_adapter
from support.hub_server import HubServer
from support.transfers import TOKEN, Machine


def finetui(machine: Machine, *arguments: str):
    done = subprocess.run([sys.executable, "-m", "finetui", *arguments, "--json"], capture_output=True, text=True, env=machine.env())
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_pulled_adapter_generates_the_same_text(tmp_path: Path) -> None:
    with HubServer() as hub:
        hub.tokens[TOKEN] = "ada"
        sender, receiver = Machine(tmp_path / "sender", hub.url), Machine(tmp_path / "receiver", hub.url)
        made = make_adapter(tmp_path / "made", base_model_dir(), targets=("q_proj", "v_proj", "down_proj"), scale=0.4)
        finetui(sender, "adapters", "import", str(made), "--name", "pirate", "--base", BASE_MODEL_NAME)
        finetui(sender, "push", "pirate", "ada/pirate")
        finetui(receiver, "pull", "ada/pirate")
        ask = ("generate", "--model", BASE_MODEL_NAME, "--prompt", "What do bees make?", "--max-new-tokens", "6", "--adapter", "pirate")
        here, there = finetui(sender, *ask), finetui(receiver, *ask)
        (base,) = finetui(sender, *ask[:-2])
    assert here[0]["text"] == there[0]["text"]
    assert here[0]["text"] != base["text"], "the adapter does something"
    assert not receiver.catalog.adapter("pirate").base_missing, "the embedded base is recognised by its digest"
