"""The catalog lists what is on disk, whatever state it is in, and finds it by name."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import msgspec
import pytest
from finetui.core.catalog.catalog import Catalog
from finetui.core.catalog.entries import select_adapters
from finetui.core.catalog.manifest import BaseRef, Manifest, Parent, write_manifest
from finetui.core.embedded import BASE_MODEL_NAME
from finetui.core.errors import NotFound, UsageError
from finetui.core.paths import Home
from support.folders import cache_model, make_adapter, make_model


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def names(entries) -> set[str]:
    return {entry.name for entry in entries}


def test_an_empty_home_lists_the_embedded_base_only(tmp_path: Path) -> None:
    catalog = Catalog(Home(tmp_path / "nowhere"))
    (base,) = catalog.models()
    assert (base.name, base.source, base.architecture, base.task) == (BASE_MODEL_NAME, "embedded", "Qwen2ForCausalLM", "causal-lm")
    assert base.digest == hashlib.sha256((Path(base.path) / "model.safetensors").read_bytes()).hexdigest()
    assert base.chat_template
    assert catalog.adapters() == []


def test_models_from_home_links_and_cache(home: Home, cache: Path, tmp_path: Path) -> None:
    catalog = Catalog(home)
    catalog.add_model(make_model(tmp_path / "mine"), "mine")
    trained = make_model(home.models / "tuned", seed=1)
    write_manifest(trained, Manifest(kind="model", method="full", run="01AAAAAAAAAA", base=BaseRef(name="mine")))
    merged = make_model(home.models / "both", seed=2)
    write_manifest(merged, Manifest(kind="model", parents=[Parent(kind="adapter", relation="merged", digest="ab" * 32)]))
    cache_model(cache, "org/new", "b" * 40, make_model(tmp_path / "c1", seed=3))
    cache_model(cache, "org/new", "a" * 40, make_model(tmp_path / "c2", seed=4), main=False)
    rows = {entry.name: entry for entry in catalog.models()}
    assert set(rows) == {BASE_MODEL_NAME, "mine", "tuned", "both", "org/new", "org/new@aaaaaaaaaaaa"}
    sources = {BASE_MODEL_NAME: "embedded", "mine": "local", "tuned": "trained", "both": "merged"}
    assert {name: row.source for name, row in rows.items()} == sources | {"org/new": "cache", "org/new@aaaaaaaaaaaa": "cache"}
    assert rows["mine"].path == str(tmp_path / "mine")
    assert (rows["org/new"].hub_id, rows["org/new"].revision) == ("org/new", "b" * 40)
    assert rows["mine"].parameters == sum(row["elements"] for row in _tensors(tmp_path / "mine"))
    (tuned,) = catalog.adapters()
    assert (tuned.name, tuned.method, tuned.base, tuned.base_missing) == ("tuned", "full", "mine", False)
    keys = {"name", "path", "digest", "size_bytes", "architecture", "parameters", "dtype"}
    assert keys <= msgspec.to_builtins(rows["mine"]).keys()


def _tensors(folder: Path) -> list[dict[str, int]]:
    from safetensors import safe_open

    with safe_open(folder / "model.safetensors", "numpy") as file:
        return [{"elements": file.get_tensor(name).size} for name in file.keys()]  # noqa: SIM118 - not a mapping


def test_cached_models_are_not_hashed(home: Home, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = cache_model(cache, "org/m", "c" * 40, make_model(tmp_path / "m"))
    expected = hashlib.sha256((snapshot / "model.safetensors").read_bytes()).hexdigest()
    hashed: list[Path] = []
    monkeypatch.setattr("finetui.core.catalog.catalog.sha256_file", lambda path: hashed.append(path) or "0" * 64)
    assert Catalog(home).model("org/m").digest == expected
    assert not [path for path in hashed if "cache" in path.parts]


def test_large_models_are_hashed_when_asked_only(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("finetui.core.catalog.catalog.HASH_LIMIT", 100)
    catalog = Catalog(home)
    folder = make_model(tmp_path / "big")
    os.utime(folder / "model.safetensors", (1e9, 1e9))
    catalog.add_model(folder)
    assert catalog.model("big").digest is None
    digest = catalog.digest(folder)
    assert digest == hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()
    assert catalog.model("big").digest == digest, "once known it is listed"
    assert Catalog(home).model("big").digest == digest, "and kept in the index"


def test_the_digest_of_shards_does_not_depend_on_their_order(home: Home, tmp_path: Path) -> None:
    folder = make_model(tmp_path / "m")
    whole = folder / "model.safetensors"
    from safetensors.numpy import load_file, save_file

    tensors = load_file(whole)
    half = sorted(tensors)[: len(tensors) // 2]
    parts = {"model-00001-of-00002.safetensors": half, "model-00002-of-00002.safetensors": sorted(set(tensors) - set(half))}
    for name, keys in parts.items():
        save_file({key: tensors[key] for key in keys}, folder / name)
    whole.unlink()
    index = {"weight_map": {key: name for name, keys in parts.items() for key in keys}}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    lines = sorted(f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in parts)
    assert Catalog(home).model(str(folder)).digest == hashlib.sha256("".join(lines).encode()).hexdigest()


def test_a_file_rewritten_in_place_at_once_is_hashed_again(home: Home, tmp_path: Path) -> None:
    catalog = Catalog(home)
    weights = make_model(tmp_path / "m") / "model.safetensors"
    content, digests = bytearray(weights.read_bytes()), set()
    for _ in range(20):
        content[-1] ^= 1
        weights.write_bytes(content)
        assert catalog.digest(tmp_path / "m") == hashlib.sha256(content).hexdigest()
        digests.add(catalog.digest(tmp_path / "m"))
    assert len(digests) == 2


def test_a_changed_file_gets_a_new_digest(home: Home, tmp_path: Path) -> None:
    catalog = Catalog(home)
    catalog.add_model(make_model(tmp_path / "m"))
    before = catalog.model("m").digest
    make_model(tmp_path / "other", seed=9)
    os.replace(tmp_path / "other" / "model.safetensors", tmp_path / "m" / "model.safetensors")
    assert catalog.model("m").digest != before


@pytest.mark.parametrize(
    ("file", "content", "word"),
    [("model.safetensors", b"\x00" * 4, "truncated"), ("config.json", b"{", "JSON"), ("finetui.json", b"[]", "finetui.json")],
)
def test_a_broken_model_is_listed_with_its_problem(home: Home, tmp_path: Path, file: str, content: bytes, word: str) -> None:
    folder = make_model(home.models / "broken")
    (folder / file).write_bytes(content)
    make_model(home.models / "good")
    rows = {entry.name: entry for entry in Catalog(home).models()}
    assert word in rows["broken"].problem
    assert rows["good"].problem == ""
    assert Catalog(home).model("broken").problem


def test_other_broken_folders(home: Home, tmp_path: Path) -> None:
    (home.models / "gone").symlink_to(tmp_path / "nowhere")
    (home.models / "empty").mkdir()
    pickle = make_model(home.models / "pickle", weights=False)
    (pickle / "pytorch_model.bin").write_bytes(b"\x80\x04")
    make_model(home.models / "config-only", weights=False)
    adapter = make_adapter(home.adapters / "torn", make_model(tmp_path / "m"))
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-10])
    (home.adapters / "nothing").mkdir()
    (home.adapters / ".staging").mkdir()
    catalog = Catalog(home)
    problems = {entry.name: entry.problem for entry in [*catalog.models(), *catalog.adapters()] if entry.problem}
    assert set(problems) == {"gone", "empty", "pickle", "config-only", "torn", "nothing"}
    assert "gone" in problems["gone"]
    assert "pickle" in problems["pickle"]
    assert "truncated" in problems["torn"]


def test_adapters_know_their_method_base_and_size(home: Home, tmp_path: Path) -> None:
    catalog = Catalog(home)
    base = make_model(tmp_path / "base")
    catalog.add_model(base)
    folder = make_adapter(home.adapters / "a", base, rank=4, targets=("q_proj",))
    write_manifest(
        folder,
        Manifest(method="lora", run="01BCDEFGHJ", base=BaseRef(digest=catalog.digest(base)), tags=["x"], metrics={"eval_loss": 1.5}),
    )
    entry = catalog.adapter("a")
    assert (entry.method, entry.peft_type, entry.rank, entry.run, entry.tags) == ("lora", "LORA", 4, "01BCDEFGHJ", ["x"])
    assert entry.parameters == 2 * (4 * 16 + 16 * 4)
    assert (entry.base, entry.base_path, entry.base_missing) == ("base", str(base), False)
    assert entry.source == "trained"
    assert entry.digest == hashlib.sha256((folder / "adapter_model.safetensors").read_bytes()).hexdigest()
    assert {"method", "base", "base_digest", "parameters", "run", "digest", "size_bytes"} <= msgspec.to_builtins(entry).keys()


def test_the_base_is_found_by_digest_after_it_moved(home: Home, tmp_path: Path) -> None:
    catalog = Catalog(home)
    base = make_model(tmp_path / "old")
    folder = make_adapter(home.adapters / "a", base)
    write_manifest(folder, Manifest(method="lora", base=BaseRef(name="old", digest=catalog.digest(base), path=str(base))))
    assert catalog.adapter("a").base_path == str(base), "by path, although it is not registered"
    base.rename(tmp_path / "new")
    assert catalog.adapter("a").base_missing
    catalog.add_model(tmp_path / "new", "renamed")
    entry = catalog.adapter("a")
    assert (entry.base, entry.base_missing) == ("renamed", False)


def test_another_model_at_the_base_path_is_not_the_base(home: Home, tmp_path: Path) -> None:
    catalog = Catalog(home)
    base = make_model(tmp_path / "base")
    folder = make_adapter(home.adapters / "a", base)
    write_manifest(folder, Manifest(method="lora", base=BaseRef(name="base", digest=catalog.digest(base), path=str(base))))
    os.replace(make_model(tmp_path / "x", seed=7) / "model.safetensors", base / "model.safetensors")
    catalog.add_model(base)
    assert catalog.adapter("a").base_missing


def test_the_base_is_found_by_hub_id(home: Home, cache: Path, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base")
    make_adapter(home.adapters / "a", base, base="org/base")
    assert Catalog(home).adapter("a").base_missing
    snapshot = cache_model(cache, "org/base", "d" * 40, base)
    entry = Catalog(home).adapter("a")
    assert (entry.base, entry.base_path, entry.base_missing) == ("org/base", str(snapshot), False)


def test_adapters_in_the_cache_are_listed_too(home: Home, cache: Path, tmp_path: Path) -> None:
    cache_model(cache, "org/adapter", "e" * 40, make_adapter(tmp_path / "a", make_model(tmp_path / "base")))
    (cache / "datasets--org--rows" / "snapshots" / "f").mkdir(parents=True)
    catalog = Catalog(home)
    assert names(catalog.models()) == {BASE_MODEL_NAME}
    (entry,) = catalog.adapters()
    assert (entry.name, entry.source, entry.revision) == ("org/adapter", "cache", "e" * 40)


def test_names_resolve_folder_first_then_catalog_then_hub_id(
    home: Home, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    catalog = Catalog(home)
    registered = make_model(tmp_path / "registered")
    catalog.add_model(registered, "gpt")
    cache_model(cache, "gpt", "a" * 40, make_model(tmp_path / "c", seed=2))
    with pytest.raises(UsageError, match="ambiguous"):
        catalog.model("gpt")
    (home.models / "gpt").unlink()
    assert catalog.model("gpt").source == "cache"
    assert catalog.model("gpt@aaaa").source == "cache"
    here = make_model(tmp_path / "work" / "gpt")
    monkeypatch.chdir(tmp_path / "work")
    assert catalog.model("gpt").path == str(here)
    (tmp_path / "work" / "finetui-mini").mkdir()
    assert catalog.model(BASE_MODEL_NAME).source == "embedded", "a folder that is no model does not hide a catalog name"
    with pytest.raises(NotFound, match="no config.json"):
        catalog.model(str(tmp_path))
    with pytest.raises(NotFound) as info:
        catalog.model("finetui-mimi")
    assert BASE_MODEL_NAME in info.value.hint


def test_adapters_resolve_by_folder_name_digest_and_run(home: Home, tmp_path: Path) -> None:
    catalog = Catalog(home)
    base = make_model(tmp_path / "base")
    for number, name in enumerate(("one", "two")):
        folder = make_adapter(home.adapters / name, base, seed=number)
        write_manifest(folder, Manifest(method="lora", run=f"01SHARED{number}"))
    one = catalog.adapter("one")
    assert one.digest is not None
    for word in (one.path, one.digest, one.digest[:6], "01SHARED0", "01shared0"):
        assert catalog.adapter(word).name == "one"
    with pytest.raises(UsageError, match="ambiguous"):
        catalog.adapter("01SHARED")
    with pytest.raises(NotFound):
        catalog.adapter(one.digest[:5])
    with pytest.raises(NotFound) as info:
        catalog.adapter("tvo")
    assert "two" in info.value.hint
    outside = make_adapter(tmp_path / "outside", base, seed=5)
    assert catalog.adapter(str(outside)).path == str(outside)


def test_filters_and_sorts(home: Home, tmp_path: Path) -> None:
    base = make_model(tmp_path / "base")
    for number, (name, loss) in enumerate({"b": 1.0, "a": 2.0, "c": 0.5}.items()):
        folder = make_adapter(home.adapters / name, base, rank=4 + number)
        write_manifest(
            folder, Manifest(method="qlora" if name == "c" else "lora", created=number + 1, metrics={"eval_loss": loss}, tags=[f"t{name}"])
        )
    entries = Catalog(home).adapters()
    assert [e.name for e in select_adapters(entries)] == ["a", "b", "c"]
    assert [e.name for e in select_adapters(entries, sort="loss")] == ["c", "b", "a"]
    assert [e.name for e in select_adapters(entries, sort="created")] == ["c", "a", "b"]
    assert [e.name for e in select_adapters(entries, sort="size")] == ["c", "a", "b"]
    assert [e.name for e in select_adapters(entries, method="qlora")] == ["c"]
    assert [e.name for e in select_adapters(entries, search="ta lora")] == ["a"]
    assert [e.name for e in select_adapters(entries, base=str(base))] == ["a", "b", "c"]
    with pytest.raises(UsageError):
        select_adapters(entries, sort="nonsense")
