"""Searching hubs and reading cards: the real client against the loopback hub, and the folder hub."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from finetui.core.catalog.manifest import BaseRef, Manifest, write_manifest
from finetui.core.errors import NotFound
from finetui.hub.card import split_card
from finetui.hub.searching import read_card, search_hub
from finetui.hub.transfer import push_request
from support.cli import Done, finetui
from support.folders import make_adapter, make_model
from support.hub_server import HubServer
from support.transfers import TOKEN, Machine


def card_of(base: str, *tags: str) -> bytes:
    """A card as PEFT users write them."""
    return f"---\nlibrary_name: peft\nbase_model: {base}\ntags: [{', '.join(['lora', *tags])}]\n---\n# Arr\n\nTalks.\n".encode()


@pytest.fixture
def hub() -> Iterator[HubServer]:
    with HubServer() as server:
        server.tokens[TOKEN] = "ada"
        server.create("bob/pirate-small", {"README.md": card_of("org/small", "fun")}).downloads = 40
        server.create("bob/pirate-large", {"README.md": card_of("org/large")}).downloads = 900
        server.create("ada/pirate-secret", {"README.md": card_of("org/small")}, private=True)
        server.create("bob/whole-model", {"README.md": b"---\nlibrary_name: transformers\n---\n"})
        yield server


@pytest.fixture
def machine(tmp_path: Path, hub: HubServer) -> Machine:
    return Machine(tmp_path / "machine", hub.url)


def run(machine: Machine, *arguments: object) -> Done:
    """The command line on this machine."""
    told = {name: value for name, value in machine.env().items() if name.startswith(("HF_", "FINETUI_"))}
    return finetui(*arguments, **{"HF_HUB_OFFLINE": "0", "HF_TOKEN": "", **told})


def found(machine: Machine, *arguments: object) -> list[dict[str, Any]]:
    done = run(machine, "search", *arguments, "--json")
    assert done.code == 0, done.err
    return done.json


def test_words_and_base_narrow_and_the_most_downloaded_come_first(machine: Machine) -> None:
    rows = found(machine, "pirate")
    assert [row["repo"] for row in rows] == ["bob/pirate-large", "bob/pirate-small", "ada/pirate-secret"]
    assert rows[1] == {
        "repo": "bob/pirate-small", "downloads": 40, "likes": 0, "modified": 1772366400.0, "base": "org/small", "method": "lora",
        "tags": ["lora", "fun"], "private": False,
    }  # fmt: skip
    assert [row["repo"] for row in found(machine, "--base", "org/small")] == ["bob/pirate-small", "ada/pirate-secret"]
    assert [row["repo"] for row in found(machine, "large", "--base", "org/large", "--limit", 1)] == ["bob/pirate-large"]
    assert found(machine, "nothing", "like", "it") == []


def test_others_private_repositories_are_not_found(tmp_path: Path, hub: HubServer) -> None:
    stranger = Machine(tmp_path / "stranger", hub.url, token="")
    assert [row["repo"] for row in found(stranger, "pirate")] == ["bob/pirate-large", "bob/pirate-small"]


def test_a_base_in_the_catalog_goes_by_its_hub_id(machine: Machine, hub: HubServer) -> None:
    write_manifest(make_model(machine.home.models / "mine"), Manifest(kind="model", base=BaseRef()))
    assert found(machine, "--base", "mine") == []
    assert hub.requests[-1] == "GET /api/models"
    done = run(machine, "search", "--base", "mine")
    assert "no adapter for mine on huggingface" in done.err


def test_the_table_is_for_people(machine: Machine) -> None:
    done = run(machine, "search", "pirate")
    assert "bob/pirate-large" in done.out and "900" in done.out and "2026-03-01" in done.out
    assert "ada/pirate-secret (private)" in done.out
    assert run(machine, "search", "absent").err == "no adapter with 'absent' on huggingface\n"


def test_cards_are_read_without_leaving_anything_in_the_cache(machine: Machine) -> None:
    done = run(machine, "card", "bob/pirate-small")
    assert done.out == card_of("org/small", "fun").decode()
    assert run(machine, "card", "bob/pirate-small@main", "--json").json["card"] == done.out
    assert not list((machine.root / "hf").rglob("README.md"))
    assert run(machine, "card", "bob/absent", "--json").code == 3
    assert "no such revision" in run(machine, "card", "bob/pirate-small@v9").err


def test_a_repository_without_a_card_is_no_error(machine: Machine, hub: HubServer) -> None:
    hub.create("bob/bare", {"adapter_config.json": b"{}"})
    done = run(machine, "card", "bob/bare")
    assert (done.code, done.out, done.err) == (0, "", "bob/bare has no card\n")


@pytest.mark.parametrize("command", [("search", "pirate"), ("card", "bob/pirate-small")])
def test_errors_are_told_in_words(machine: Machine, hub: HubServer, command: tuple[str, ...]) -> None:
    machine.token = "hf_wrong0123456789"
    done = run(machine, *command, "--json")
    assert (done.code, done.json["error"]["kind"]) == (1, "token") and "HF_TOKEN" in done.json["error"]["hint"]
    machine.token, machine.endpoint = TOKEN, "http://127.0.0.1:9"
    done = run(machine, *command, "--json")
    assert (done.code, done.json["error"]["kind"]) == (1, "network")
    assert done.err.count("\n") == 2, "the client's own warnings would be drawn over the screen"
    assert TOKEN not in done.out + done.err and "Traceback" not in done.err


def test_a_passing_failure_is_tried_again(machine: Machine, hub: HubServer) -> None:
    hub.fail("GET", "/api/models", "503")
    assert found(machine, "pirate-small")[0]["repo"] == "bob/pirate-small"


# The folder hub ------------------------------------------------------------------------------------------------------


@pytest.fixture
def sender(tmp_path: Path) -> Machine:
    """A machine that has pushed two adapters of different bases into a shared folder."""
    machine = Machine(tmp_path / "sender", token="")
    for name, base in (("tone", "org/base"), ("voice", "org/other")):
        folder = make_adapter(machine.home.adapters / name, make_model(tmp_path / name), base=base)
        write_manifest(folder, Manifest(name=name, method="lora", tags=[f"{name}s"]))
        request = push_request(machine.home, name, f"ada/{name}", hub=f"folder:{tmp_path / 'shared'}")
        assert machine.transfer("push", request).state == "succeeded"
    return machine


def test_a_folder_is_searched_by_words_and_base(sender: Machine, tmp_path: Path) -> None:
    hub = f"folder:{tmp_path / 'shared'}"
    rows = search_hub(sender.home, hub=hub)
    assert {row.repo for row in rows} == {"ada/tone", "ada/voice"}
    (row,) = search_hub(sender.home, "TONE lora", hub=hub)
    assert (row.base, row.method, row.tags, row.downloads, row.likes) == ("org/base", "lora", ("tones",), None, None)
    assert row.modified > 0
    assert [row.repo for row in search_hub(sender.home, base="org/other", hub=hub)] == ["ada/voice"]
    assert search_hub(sender.home, "tone voice", hub=hub) == []
    assert "## How to load it" in read_card(sender.home, "ada/tone", hub=hub)
    with pytest.raises(NotFound, match="ada/tune"):
        read_card(sender.home, "ada/tune", hub=hub)


def test_a_damaged_repository_is_no_result(sender: Machine, tmp_path: Path) -> None:
    next((tmp_path / "shared" / "ada" / "tone" / "snapshots").glob("*/adapter_config.json")).write_text("{")
    assert [row.repo for row in search_hub(sender.home, hub=f"folder:{tmp_path / 'shared'}")] == ["ada/voice"]
    assert search_hub(sender.home, hub=f"folder:{tmp_path / 'absent'}") == []


# Cards ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("card", "facts", "body"),
    [
        ("---\nlicense: mit\n---\n\n# Arr\n", {"license": "mit"}, "# Arr"),
        ("﻿---\r\nlicense: mit\r\n---\r\n# Arr\r\n", {"license": "mit"}, "# Arr"),
        ("# Arr\n\n---\nmore\n", {}, "# Arr\n\n---\nmore\n"),
        ("---\nlicense: [\n---\n# Arr", {}, "# Arr"),
        ("---\n- a\n---\n# Arr", {}, "# Arr"),
        ("---\nnever closed", {}, "---\nnever closed"),
        ("# A\x1b]0;evil\x07\x1b[2J\x9b1mrr", {}, "# A]0;evil[2J1mrr"),
        ("", {}, ""),
    ],
)
def test_front_matter_of_any_kind(card: str, facts: dict[str, Any], body: str) -> None:
    assert split_card(card) == (facts, body)


def test_offline_mode_is_named(machine: Machine) -> None:
    machine.environment["HF_HUB_OFFLINE"] = "1"
    done = run(machine, "search", "pirate", "--json")
    assert done.code == 1 and done.json["error"]["kind"] == "network"
