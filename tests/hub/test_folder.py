"""The folder hub: publish to a directory, fetch from it, verified."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finetui.core.catalog.digest import sha256_file
from finetui.core.catalog.manifest import Manifest, read_manifest, write_manifest
from finetui.core.config import Settings
from finetui.core.errors import NameTaken, NotFound, UsageError
from finetui.hub.transfer import plan_push, pull_request, push_request
from support.folders import make_adapter, make_delta, make_model
from support.transfers import Machine


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def sender(tmp_path: Path) -> Machine:
    machine = Machine(tmp_path / "sender", token="")
    make_adapter(machine.home.adapters / "a", make_model(tmp_path / "base"), base="org/base")
    return machine


@pytest.fixture
def receiver(tmp_path: Path) -> Machine:
    return Machine(tmp_path / "receiver", token="")


def push(machine: Machine, shared: Path, repo: str = "ada/a", **changes):
    result = machine.transfer("push", push_request(machine.home, "a", repo, hub=f"folder:{shared}", **changes))
    assert result.state == "succeeded", result
    return result.result


def pull(machine: Machine, shared: Path, repo: str, name: str = ""):
    return machine.transfer("pull", pull_request(machine.home, repo, hub=f"folder:{shared}", name=name))


def test_there_and_back(sender: Machine, receiver: Machine, shared: Path) -> None:
    pushed = push(sender, shared)
    assert pushed["bytes_sent"] > 0
    pulled = pull(receiver, shared, "ada/a", "b")
    assert pulled.state == "succeeded", pulled
    assert pulled.result["revision"] == pushed["revision"]
    weights = "adapter_model.safetensors"
    assert sha256_file(receiver.home.adapters / "b" / weights) == sha256_file(sender.home.adapters / "a" / weights)
    manifest = read_manifest(receiver.home.adapters / "b")
    assert manifest is not None
    assert (manifest.source.hub, manifest.source.repo) == ("folder", "ada/a")
    entry = receiver.catalog.adapter("b")
    assert (entry.source, entry.base, entry.base_missing, entry.problem) == ("pulled", "org/base", True, "")
    assert not [path for path in shared.rglob("*") if path.is_symlink()], "weights are copied, not linked"


def test_two_pushes_are_two_revisions_and_the_same_push_is_one(sender: Machine, receiver: Machine, shared: Path) -> None:
    first = push(sender, shared)
    assert push(sender, shared) == {**first, "bytes_sent": 0}
    write_manifest(sender.home.adapters / "a", Manifest(method="lora", tags=["better"]))
    second = push(sender, shared)
    assert second["revision"] != first["revision"]
    for revision, name, tags in (("", "new", ["better"]), (f"@{first['revision'][:10]}", "old", []), ("@main", "main", ["better"])):
        assert pull(receiver, shared, f"ada/a{revision}", name).state == "succeeded"
        assert receiver.catalog.adapter(name).tags == tags
    missing = pull(receiver, shared, "ada/a@nonexistent", "x")
    assert (missing.exit_code, missing.error["kind"]) == (3, "not_found")


def test_branches(sender: Machine, receiver: Machine, shared: Path) -> None:
    branch = push(sender, shared, revision="v2")
    assert pull(receiver, shared, "ada/a@v2").result["revision"] == branch["revision"]
    refused = sender.transfer("push", push_request(sender.home, "a", "ada/a", hub=f"folder:{shared}", pull_request=True))
    assert (refused.exit_code, refused.error["kind"]) == (4, "refused")


@pytest.mark.parametrize("harm", ["flipped", "missing", "torn listing", "escaping name"])
def test_a_damaged_snapshot_is_refused_and_leaves_nothing(sender: Machine, receiver: Machine, shared: Path, harm: str) -> None:
    snapshot = shared / "ada" / "a" / "snapshots" / push(sender, shared)["revision"]
    weights, listing = snapshot / "adapter_model.safetensors", snapshot / ".files.json"
    if harm == "flipped":
        data = bytearray(weights.read_bytes())
        data[-1] ^= 1
        weights.write_bytes(data)
    elif harm == "missing":
        weights.unlink()
    elif harm == "torn listing":
        listing.write_bytes(listing.read_bytes()[:-9])
    else:
        content = json.loads(listing.read_text())
        content["files"][0]["path"] = "../../evil.json"
        listing.write_text(json.dumps(content))
    result = pull(receiver, shared, "ada/a")
    assert (result.exit_code, result.error["kind"]) == (4, "corrupt")
    assert list(receiver.home.adapters.iterdir()) == []


def test_an_unknown_repository_names_the_closest(sender: Machine, receiver: Machine, shared: Path) -> None:
    push(sender, shared, "ada/pirate")
    result = pull(receiver, shared, "ada/pirat")
    assert (result.exit_code, result.error["kind"]) == (3, "not_found")
    assert "ada/pirate" in result.error["hint"]


def test_what_is_refused_before_anything_starts(sender: Machine) -> None:
    with pytest.raises(NameTaken):
        pull_request(sender.home, "ada/a")
    with pytest.raises(NotFound):
        pull_request(sender.home, "ada/b", hub="nowhere")
    with pytest.raises(NotFound):
        plan_push(sender.home, "absent", "ada/a")
    for repo in ("../evil", "a/b/c", "", "-x/y", "a b/c"):
        with pytest.raises(UsageError):
            plan_push(sender.home, "a", repo)


def test_the_directory_comes_from_the_settings_or_the_home(sender: Machine, tmp_path: Path) -> None:
    request = push_request(sender.home, "a", "ada/a", hub="folder", settings=Settings(folder_hub=str(tmp_path / "configured")))
    assert sender.transfer("push", request).state == "succeeded"
    assert (tmp_path / "configured" / "ada" / "a" / "refs" / "main").exists()
    assert sender.transfer("push", push_request(sender.home, "a", "ada/a", hub="folder")).state == "succeeded"
    assert (sender.home.root / "hub" / "ada" / "a" / "refs" / "main").exists()


def test_a_delta_goes_there_and_back_with_its_base_named(tmp_path: Path, sender: Machine, receiver: Machine, shared: Path) -> None:
    make_delta(sender.home.adapters / "d", tmp_path / "base", hub_id="org/base")
    request = push_request(sender.home, "d", "ada/d", hub=f"folder:{shared}")
    assert sender.transfer("push", request).state == "succeeded"
    assert pull(receiver, shared, "ada/d", "e").state == "succeeded"
    sent, got = sender.catalog.adapter("d"), receiver.catalog.adapter("e")
    assert got.digest == sent.digest
    assert (got.artifact, got.method, got.base, got.base_digest) == ("delta", "bitfit", "org/base", sent.base_digest)
    card = (Path(got.path) / "README.md").read_text()
    assert "finetui export d --format safetensors" in card and str(tmp_path) not in card


def test_a_delta_that_does_not_name_its_base_is_not_taken(tmp_path: Path, sender: Machine, receiver: Machine, shared: Path) -> None:
    folder = make_delta(sender.home.adapters / "d", tmp_path / "base")
    write_manifest(folder, Manifest(method="bitfit"))
    assert sender.transfer("push", push_request(sender.home, "d", "ada/d", hub=f"folder:{shared}")).state == "succeeded"
    pulled = pull(receiver, shared, "ada/d", "e")
    assert pulled.error is not None and "does not say of which base" in pulled.error["message"]
