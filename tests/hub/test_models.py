"""Base models from the Hub: into the Hugging Face cache, verified, safetensors only."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from support.folders import make_model
from support.hub_server import HubServer
from support.transfers import Machine

_CODE = """
import sys
from finetui.core.errors import FineTUIError
from finetui.hub.models import download_model
try:
    print(download_model(*sys.argv[1:]))
except FineTUIError as problem:
    sys.exit(f"{problem.kind}: {problem.message}")
"""


@pytest.fixture
def hub(tmp_path: Path) -> Iterator[HubServer]:
    with HubServer() as server:
        files = {path.name: path.read_bytes() for path in make_model(tmp_path / "model").iterdir()}
        server.create("org/tiny", {**files, "training_args.bin": b"\x80", "modeling_tiny.py": b"pass"})
        server.create("org/pickle", {"config.json": b"{}", "pytorch_model.bin": b"\x80"})
        yield server


@pytest.fixture
def machine(tmp_path: Path, hub: HubServer, monkeypatch: pytest.MonkeyPatch) -> Machine:
    machine = Machine(tmp_path / "machine", hub.url, token="")
    monkeypatch.setenv("HF_HOME", machine.env()["HF_HOME"])
    return machine


def download(machine: Machine, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", _CODE, *arguments], capture_output=True, text=True, env=machine.env())


def test_a_downloaded_model_is_in_the_catalog(machine: Machine, hub: HubServer, tmp_path: Path) -> None:
    done = download(machine, "org/tiny")
    assert done.returncode == 0, done.stderr
    entry = machine.catalog.model("org/tiny")
    assert entry.path == done.stdout.strip()
    assert (entry.source, entry.hub_id, entry.problem) == ("cache", "org/tiny", "")
    assert entry.revision == hub.repositories["org/tiny"].branches["main"]
    assert {path.name for path in Path(entry.path).iterdir()} == {"config.json", "model.safetensors"}
    assert (Path(entry.path) / "model.safetensors").read_bytes() == (tmp_path / "model" / "model.safetensors").read_bytes()


def test_a_revision(machine: Machine, hub: HubServer) -> None:
    old = hub.repositories["org/tiny"].branches["main"]
    hub.repositories["org/tiny"].commit("main", {**hub.repositories["org/tiny"].files, "README.md": b"new"}, "newer")
    assert download(machine, "org/tiny", old).returncode == 0
    assert machine.catalog.model(f"org/tiny@{old[:8]}").revision == old
    assert "not_found" in download(machine, "org/tiny", "v9").stderr


def test_pickles_damage_and_absence(machine: Machine, hub: HubServer) -> None:
    assert "unsafe: org/pickle" in download(machine, "org/pickle").stderr
    assert "not_found: org/absent" in download(machine, "org/absent").stderr
    hub.fail("GET", "model.safetensors", "flip")
    damaged = download(machine, "org/tiny")
    assert "corrupt" in damaged.stderr
    assert download(machine, "org/tiny").returncode == 0, "the damaged file was removed, not kept for ever"
    assert machine.catalog.model("org/tiny").problem == ""


@pytest.mark.parametrize("part", ["/api/models/org/tiny", "/tree/", "config.json", "model.safetensors"])
def test_a_passing_failure_is_tried_again(machine: Machine, hub: HubServer, part: str) -> None:
    hub.fail("GET", part, "503")
    hub.fail("HEAD", part, "503")
    done = download(machine, "org/tiny")
    assert done.returncode == 0, done.stderr


def test_adding_a_revision_names_that_revision(machine: Machine, hub: HubServer) -> None:
    assert download(machine, "org/tiny").returncode == 0
    first = hub.repositories["org/tiny"].branches["main"]
    newer = hub.repositories["org/tiny"].commit("v2", {**hub.repositories["org/tiny"].files, "README.md": b"new"}, "newer")
    command = [sys.executable, "-m", "finetui", "--json", "models", "add", f"org/tiny@{newer}"]
    done = subprocess.run(command, capture_output=True, text=True, env=machine.env())
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["revision"] == newer != first
