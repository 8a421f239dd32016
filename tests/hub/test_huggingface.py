"""Push and pull with the real huggingface_hub client against a hub on loopback."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from finetui.core.catalog.digest import sha256_file
from finetui.core.catalog.manifest import BaseRef, DataRef, Manifest, read_manifest, write_manifest
from finetui.core.fsio import JsonlReader, read_json
from finetui.core.runs.spec import Event, Result
from finetui.core.runs.store import RunStore
from finetui.hub.transfer import plan_push, pull_request, push_request
from support.folders import cache_model, make_adapter, make_model
from support.hub_server import HubServer
from support.transfers import TOKEN, Machine

REPO = "ada/pirate"


@pytest.fixture
def hub() -> Iterator[HubServer]:
    """An empty hub on which ``ada`` may write."""
    with HubServer() as server:
        server.tokens[TOKEN] = "ada"
        yield server


@pytest.fixture
def sender(tmp_path: Path, hub: HubServer) -> Machine:
    """A machine with the adapter ``pirate`` in its catalog, trained on a registered base."""
    machine = Machine(tmp_path / "sender", hub.url)
    base = make_model(tmp_path / "sender" / "models" / "tiny")
    machine.catalog.add_model(base, "tiny")
    folder = make_adapter(machine.home.adapters / "pirate", base)
    write_manifest(
        folder,
        Manifest(
            name="pirate", method="lora", method_options={"r": 4}, training_options={"max_steps": 3}, task="causal-lm", run="01RUN",
            base=BaseRef(name="tiny", digest=machine.catalog.digest(base), path=str(base)), created=1.0, metrics={"eval_loss": 1.25},
            data=DataRef(files=[str(tmp_path / "data" / "rows.jsonl")], rows=7), versions={"peft": "0.21.2"},
        ),
    )  # fmt: skip
    return machine


@pytest.fixture
def receiver(tmp_path: Path, hub: HubServer) -> Machine:
    """Another machine, with an empty catalog."""
    return Machine(tmp_path / "receiver", hub.url)


def push(machine: Machine, **changes: object):
    return machine.transfer("push", push_request(machine.home, "pirate", REPO, **changes))  # type: ignore[arg-type]


def pull(machine: Machine, repo: str = REPO, name: str = ""):
    return machine.transfer("pull", pull_request(machine.home, repo, name=name))


def error_of(result) -> dict[str, str]:
    assert result.state == "failed", result
    return {**result.error, "exit_code": result.exit_code}


def nothing_stays(machine: Machine) -> bool:
    return not any(machine.home.adapters.iterdir()) and not any(machine.home.models.iterdir())


def test_plan_shows_card_and_files_and_asks_nobody(sender: Machine, hub: HubServer) -> None:
    plan = plan_push(sender.home, "pirate", REPO)
    assert {file.path for file in plan.files} == {"README.md", "adapter_config.json", "adapter_model.safetensors", "finetui.json"}
    assert plan.private
    assert plan.warnings == ("the base 'tiny' has no Hub id: it is left out of the card",)
    assert "library_name" in plan.card
    assert "base_model" not in plan.card
    assert hub.requests == []


def test_push_then_pull_elsewhere_gives_the_same_weights(sender: Machine, receiver: Machine, hub: HubServer) -> None:
    original = sender.home.adapters / "pirate" / "adapter_model.safetensors"
    before = (sender.home.adapters / "pirate" / "adapter_config.json").read_bytes()
    pushed = push(sender)
    assert pushed.state == "succeeded", pushed
    repository = hub.repositories[REPO]
    assert repository.private
    assert len(repository.commits) == 2, "one commit after the initial one"
    assert pushed.result["revision"] == repository.branches["main"]
    assert pushed.result["url"] == f"{hub.url}/{REPO}"
    assert pushed.result["bytes_sent"] == sum(len(content) for path, content in repository.files.items() if path != ".gitattributes")
    assert (sender.home.adapters / "pirate" / "adapter_config.json").read_bytes() == before, "the local configuration is untouched"

    pulled = pull(receiver, name="copy")
    assert pulled.state == "succeeded", pulled
    folder = receiver.home.adapters / "copy"
    assert pulled.result["adapter"] == str(folder)
    assert sha256_file(folder / "adapter_model.safetensors") == sha256_file(original)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert (manifest.source.hub, manifest.source.repo, manifest.source.revision) == ("huggingface", REPO, pushed.result["revision"])
    entry = receiver.catalog.adapter("copy")
    assert (entry.source, entry.method, entry.base, entry.base_missing) == ("pulled", "lora", "tiny", True)
    assert entry.digest == sha256_file(original)


def test_nothing_published_names_a_path_of_this_machine(sender: Machine, hub: HubServer, tmp_path: Path) -> None:
    assert push(sender).state == "succeeded"
    for path, content in hub.repositories[REPO].files.items():
        assert str(tmp_path).encode() not in content, path
    assert json.loads(hub.repositories[REPO].files["adapter_config.json"])["base_model_name_or_path"] == "tiny"


def test_the_card_names_a_base_from_the_hub(sender: Machine, hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    sender.environment["HF_HUB_CACHE"] = str(tmp_path / "cache")
    snapshot = cache_model(tmp_path / "cache", "org/base", "c" * 40, make_model(tmp_path / "cached", seed=5))
    folder = make_adapter(sender.home.adapters / "second", snapshot)
    digest = sender.catalog.digest(snapshot)
    metrics = {"perplexity": float("inf"), "loss": 2.0}
    write_manifest(folder, Manifest(name="second", method="lora", base=BaseRef(digest=digest), metrics=metrics))
    plan = plan_push(sender.home, "second", "ada/second")
    assert plan.warnings == ()
    assert 'base_model: "org/base"' in plan.card
    assert 'base_model_relation: "adapter"' in plan.card
    assert "base_model:adapter:org/base" in plan.card
    assert "inf" not in plan.card.lower().replace("finetui", "").replace("inference", "")
    result = sender.transfer("push", push_request(sender.home, "second", "ada/second"))
    assert result.state == "succeeded", result
    config = json.loads(hub.repositories["ada/second"].files["adapter_config.json"])
    assert config["base_model_name_or_path"] == "org/base"


def test_pushing_twice_sends_nothing_the_second_time(sender: Machine, hub: HubServer) -> None:
    first, second = push(sender), push(sender)
    assert first.result["bytes_sent"] > 0
    assert second.result["bytes_sent"] == 0
    assert second.result["revision"] == first.result["revision"]
    assert len(hub.repositories[REPO].commits) == 2


def test_public_push(sender: Machine, hub: HubServer) -> None:
    assert push(sender, private=False).state == "succeeded"
    assert not hub.repositories[REPO].private


def test_branch_and_pull_request(sender: Machine, receiver: Machine, hub: HubServer) -> None:
    hub.create(REPO, private=True)
    request = push(sender, pull_request=True)
    assert request.result["url"] == f"{hub.url}/{REPO}/discussions/1"
    assert "adapter_config.json" not in hub.repositories[REPO].files
    branch = push(sender, revision="v2")
    assert branch.state == "succeeded", branch
    assert pull(receiver, f"{REPO}@v2").result["revision"] == branch.result["revision"]
    assert error_of(pull(receiver, f"{REPO}@v3", name="other"))["kind"] == "not_found"


def test_existing_public_repository_is_refused_for_a_private_push(sender: Machine, hub: HubServer) -> None:
    hub.create(REPO, private=False)
    error = error_of(push(sender))
    assert (error["kind"], error["exit_code"]) == ("refused", 4)
    assert "public" in error["message"]
    assert set(hub.repositories[REPO].files) == {".gitattributes"}
    assert hub.large == {}


@pytest.mark.parametrize(
    ("token", "why"), [("hf_wrong", "refuses the token"), ("", "no Hugging Face token"), ("hf_reader", "may not do this")]
)
def test_wrong_token(sender: Machine, hub: HubServer, token: str, why: str) -> None:
    hub.tokens["hf_reader"] = "ada"
    hub.read_only.add("hf_reader")
    sender.token = token
    error = error_of(push(sender))
    assert (error["kind"], error["exit_code"]) == ("token", 1)
    assert why in error["message"]
    assert error["hint"]
    assert REPO not in hub.repositories


def test_no_network(sender: Machine, receiver: Machine) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        sender.endpoint = receiver.endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    for result in (push(sender), pull(receiver)):
        error = error_of(result)
        assert (error["kind"], error["exit_code"]) == ("network", 1)
        assert "cannot reach" in error["message"]
    assert nothing_stays(receiver)


def test_offline_mode_is_named(sender: Machine) -> None:
    sender.environment["HF_HUB_OFFLINE"] = "1"
    error = error_of(push(sender))
    assert (error["kind"], error["hint"]) == ("network", "unset HF_HUB_OFFLINE")


@pytest.mark.parametrize("action", ["lost", "drop", "503"])
def test_a_commit_without_an_answer_is_made_exactly_once(sender: Machine, hub: HubServer, action: str) -> None:
    hub.fail("POST", "/commit/", action)  # type: ignore[arg-type]
    result = push(sender)
    assert result.state == "succeeded", result
    assert len(hub.repositories[REPO].commits) == 2
    assert result.result["revision"] == hub.repositories[REPO].branches["main"]


def test_upload_is_repeated_after_a_broken_connection(sender: Machine, hub: HubServer) -> None:
    hub.fail("PUT", "/lfs/", "drop")
    assert push(sender).state == "succeeded"


def test_corrupt_download_leaves_nothing(sender: Machine, receiver: Machine, hub: HubServer) -> None:
    assert push(sender).state == "succeeded"
    hub.fail("GET", "adapter_model.safetensors", "flip", times=10)
    error = error_of(pull(receiver))
    assert (error["kind"], error["exit_code"]) == ("corrupt", 4)
    assert "adapter_model.safetensors" in error["message"]
    assert nothing_stays(receiver)


def test_one_corrupt_download_is_fetched_again(sender: Machine, receiver: Machine, hub: HubServer) -> None:
    assert push(sender).state == "succeeded"
    hub.fail("GET", "adapter_config.json", "flip")
    hub.fail("GET", "finetui.json", "drop")
    assert pull(receiver).state == "succeeded"


def test_missing_private_and_gated_repositories(sender: Machine, receiver: Machine, hub: HubServer) -> None:
    error = error_of(pull(receiver, "ada/nothing"))
    assert (error["kind"], error["exit_code"]) == ("not_found", 3)
    assert push(sender).state == "succeeded"
    receiver.token = ""
    assert error_of(pull(receiver))["kind"] in ("not_found", "token")
    receiver.token = TOKEN
    hub.repositories[REPO].gated = True
    assert "gated" in error_of(pull(receiver))["message"]
    assert nothing_stays(receiver)


def test_pickles_and_code_do_not_come_along(sender: Machine, receiver: Machine, hub: HubServer) -> None:
    hub.create("eve/pickle", {"adapter_config.json": b'{"peft_type": "LORA"}', "adapter_model.bin": b"\x80\x04"})
    error = error_of(pull(receiver, "eve/pickle"))
    assert (error["kind"], error["exit_code"]) == ("unsafe", 4)
    assert push(sender).state == "succeeded"
    files = {**hub.repositories[REPO].files, "training_args.bin": b"\x80\x04", "modeling.py": b"import os", "checkpoint-1/a.json": b"{}"}
    hub.repositories[REPO].commit("main", files, "more files")
    assert pull(receiver).state == "succeeded"
    there = {path.name for path in (receiver.home.adapters / "pirate").rglob("*")}
    assert there == {"README.md", "adapter_config.json", "adapter_model.safetensors", "finetui.json"}


def test_a_stopped_pull_leaves_nothing(sender: Machine, receiver: Machine) -> None:
    assert push(sender).state == "succeeded"
    request = pull_request(receiver.home, REPO)
    run = RunStore(receiver.home).create("pull", "stopped", request)
    (run.dir / "control" / "stop").touch()
    assert subprocess.run([sys.executable, "-m", "finetui.hub.jobs", str(run.dir)], env=receiver.env()).returncode == 0
    assert read_json(run.dir / "result.json", Result).state == "stopped"
    assert nothing_stays(receiver)


@pytest.mark.parametrize("kind", ["push", "pull"])
def test_a_long_transfer_shows_progress_and_stops_on_request(sender: Machine, receiver: Machine, hub: HubServer, kind: str) -> None:
    base = make_model(sender.root / "wide", hidden_size=1024, intermediate_size=4096)
    make_adapter(sender.home.adapters / "wide", base, rank=128, targets=("q_proj", "o_proj", "gate_proj", "up_proj", "down_proj"))
    machine, request = sender, push_request(sender.home, "wide", "ada/wide")
    if kind == "pull":
        assert sender.transfer("push", request).state == "succeeded"
        machine, request = receiver, pull_request(receiver.home, "ada/wide")
    hub.pace = 0.25
    process, folder = machine.start(kind, request)
    reader, seen = JsonlReader(folder / "events.jsonl", Event), []
    deadline = time.monotonic() + 60
    while len(seen) < 2 and time.monotonic() < deadline and process.poll() is None:
        seen += [event.data for event in reader.read() if event.kind == "progress" and 0 < event.data["done"] < event.data["total"]]
        time.sleep(0.02)
    assert len(seen) == 2, (folder / "console.log").read_text()
    assert seen[0]["done"] < seen[1]["done"]
    (folder / "control" / "stop").touch()
    process.wait(60)
    assert read_json(folder / "result.json", Result).state == "stopped"
    if kind == "pull":
        assert nothing_stays(receiver)
    else:
        assert set(hub.repositories["ada/wide"].files) == {".gitattributes"}
        assert not list(folder.glob("upload-*"))


def test_the_token_is_written_nowhere(sender: Machine, receiver: Machine, hub: HubServer) -> None:
    """A push from the command line: launcher, supervisor and job, with an error on the way."""
    hub.fail("POST", "/commit/", "503")
    command = [sys.executable, "-m", "finetui", "push", "pirate", REPO, "--json"]
    process = subprocess.Popen(command, env=sender.env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    seen = []
    while process.poll() is None:
        for other in psutil.process_iter(["cmdline"]):
            seen += [part for part in other.info["cmdline"] or [] if TOKEN in part]
        time.sleep(0.05)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert TOKEN not in out + err
    assert json.loads(out)["repo"] == REPO
    assert pull(receiver).state == "succeeded"
    sender.token = receiver.token = TOKEN[:-1]
    assert error_of(push(sender))["kind"] == "token"
    assert seen == []
    assert sender.files_with(TOKEN[:-1]) == []
    assert receiver.files_with(TOKEN[:-1]) == []
