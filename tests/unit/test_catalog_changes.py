"""Registering, importing, tagging, removing and pairing; what is refused leaves nothing behind."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finetui.core.catalog.catalog import Catalog
from finetui.core.catalog.manifest import MANIFEST_FILE, BaseRef, Manifest, Parent, read_manifest, write_manifest
from finetui.core.catalog.names import free_name
from finetui.core.embedded import BASE_MODEL_NAME
from finetui.core.errors import CorruptFile, Incompatible, NameTaken, NotFound, Refused, UnsafeFile, UsageError
from finetui.core.paths import Home
from finetui.core.runs.spec import MergeRequest
from finetui.core.runs.store import RunStore
from support.folders import cache_model, make_adapter, make_model


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_model(tmp_path / "base")


@pytest.fixture
def catalog(home: Home, base: Path) -> Catalog:
    catalog = Catalog(home)
    catalog.add_model(base)
    return catalog


def test_adding_links_and_removing_unlinks(catalog: Catalog, home: Home, base: Path) -> None:
    assert catalog.model("base").path == str(base)
    with pytest.raises(NameTaken):
        catalog.add_model(base)
    with pytest.raises(NameTaken):
        catalog.add_model(base, BASE_MODEL_NAME)
    with pytest.raises(UsageError):
        catalog.add_model(base, "../evil")
    catalog.remove_model("base")
    assert (base / "model.safetensors").exists()
    assert not any(home.models.iterdir())


def test_what_cannot_be_registered(catalog: Catalog, home: Home, tmp_path: Path) -> None:
    pickle = make_model(tmp_path / "pickle", weights=False)
    (pickle / "pytorch_model.bin").write_bytes(b"\x80")
    torn = make_model(tmp_path / "torn")
    (torn / "model.safetensors").write_bytes(b"\xff" * 20)
    for folder, error in ((tmp_path / "absent", NotFound), (pickle, UnsafeFile), (torn, CorruptFile), (tmp_path, NotFound)):
        with pytest.raises(error):
            catalog.add_model(folder, "x")
    with pytest.raises(Refused):
        catalog.add_model(make_model(tmp_path / "config-only", weights=False), "x")
    assert [path.name for path in home.models.iterdir()] == ["base"]


def test_import_copies_checks_and_records(catalog: Catalog, home: Home, base: Path, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "their adapter", base)
    (folder / "training_args.bin").write_bytes(b"\x80")
    (folder / "checkpoint-3").mkdir()
    entry = catalog.import_adapter(folder, base="base")
    assert (entry.name, entry.source, entry.base, entry.base_digest) == ("their-adapter", "imported", "base", catalog.digest(base))
    copied = {path.name for path in (home.adapters / "their-adapter").iterdir()}
    assert copied == {"adapter_config.json", "adapter_model.safetensors", MANIFEST_FILE}
    assert not (folder / MANIFEST_FILE).exists()
    with pytest.raises(NameTaken):
        catalog.import_adapter(folder)
    with pytest.raises(NameTaken):
        catalog.import_adapter(folder, "base")


def test_an_imported_adapter_keeps_its_manifest(catalog: Catalog, base: Path, tmp_path: Path) -> None:
    folder = make_adapter(tmp_path / "a", base)
    write_manifest(folder, Manifest(name="a", method="dora", seed=7, tags=["good"]))
    entry = catalog.import_adapter(folder, "b")
    assert (entry.name, entry.method, entry.tags) == ("b", "dora", ["good"])


@pytest.mark.parametrize("spoil", ["no config", "no weights", "pickle", "torn", "not peft", "no folder"])
def test_what_cannot_be_imported_leaves_nothing(catalog: Catalog, home: Home, base: Path, tmp_path: Path, spoil: str) -> None:
    folder = make_adapter(tmp_path / "a", base)
    weights, config = folder / "adapter_model.safetensors", folder / "adapter_config.json"
    errors = {"pickle": UnsafeFile, "torn": CorruptFile, "not peft": CorruptFile}
    if spoil == "no config":
        config.unlink()
    elif spoil == "not peft":
        config.write_text("{}")
    elif spoil == "torn":
        weights.write_bytes(weights.read_bytes()[:-1])
    elif spoil == "no folder":
        folder = tmp_path / "absent"
    else:
        weights.unlink()
        if spoil == "pickle":
            (folder / "adapter_model.bin").write_bytes(b"\x80\x04")
    with pytest.raises(errors.get(spoil, NotFound)) as info:
        catalog.import_adapter(folder)
    assert str(folder) in info.value.message
    assert list(home.adapters.iterdir()) == []


def test_links_out_of_the_folder_are_not_followed(catalog: Catalog, home: Home, base: Path, tmp_path: Path) -> None:
    secret = tmp_path / "id_ed25519"
    secret.write_text("secret")
    folder = make_adapter(tmp_path / "a", base)
    (folder / "notes.txt").symlink_to(secret)
    with pytest.raises(Refused, match="id_ed25519"):
        catalog.import_adapter(folder)
    assert list(home.adapters.iterdir()) == []
    (folder / "notes.txt").unlink()
    (folder / "again.json").symlink_to(folder / "adapter_config.json")
    assert catalog.import_adapter(folder, "inside").problem == ""
    cached = cache_model(tmp_path / "cache", "org/a", "a" * 40, folder)
    assert catalog.import_adapter(cached, "cached").problem == "", "a snapshot is made of links to blobs"


def test_removing_deletes_only_what_is_ours(
    catalog: Catalog, home: Home, base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    snapshot = cache_model(tmp_path / "cache", "org/a", "a" * 40, make_adapter(tmp_path / "c", base))
    outside = make_adapter(tmp_path / "outside", base)
    for name, remove in (
        (str(outside), catalog.remove_adapter),
        ("org/a", catalog.remove_adapter),
        (BASE_MODEL_NAME, catalog.remove_model),
    ):
        with pytest.raises(Refused):
            remove(name)
    assert snapshot.exists()
    catalog.import_adapter(outside, "mine")
    catalog.remove_adapter("mine")
    assert list(home.adapters.iterdir()) == []
    (home.adapters / "broken").mkdir()
    catalog.remove_adapter("broken")
    assert list(home.adapters.iterdir()) == []
    full = make_model(home.models / "tuned", seed=3)
    write_manifest(full, Manifest(kind="model", method="full"))
    catalog.remove_adapter("tuned")
    assert not full.exists()


def test_what_an_active_run_needs_is_not_removed(catalog: Catalog, home: Home, base: Path, tmp_path: Path) -> None:
    catalog.import_adapter(make_adapter(tmp_path / "a", base), "a")
    request = MergeRequest(
        model="base", model_path=str(base), base_model_name_or_path="base", adapter=str(home.adapters / "a"), output=str(tmp_path / "out")
    )
    run = RunStore(home).create("merge", "m", request)
    for remove, name in ((catalog.remove_adapter, "a"), (catalog.remove_model, "base")):
        with pytest.raises(Refused, match=run.id):
            remove(name)
    assert (home.adapters / "a").exists()


def test_the_name_of_a_run_under_way_is_taken(catalog: Catalog, home: Home, base: Path, tmp_path: Path) -> None:
    RunStore(home).create("train", "whatever", {"name": "coming"})
    folder = make_adapter(tmp_path / "a", base)
    for add in (lambda: catalog.import_adapter(folder, "coming"), lambda: catalog.add_model(base, "coming")):
        with pytest.raises(NameTaken, match="under way"):
            add()
    assert (free_name(home, "coming"), free_name(home, "base"), free_name(home, "new")) == ("coming-2", "base-2", "new")
    assert free_name(home, BASE_MODEL_NAME) == f"{BASE_MODEL_NAME}-2"


def test_tags(catalog: Catalog, home: Home, base: Path, tmp_path: Path) -> None:
    folder = make_adapter(home.adapters / "a", base)
    (folder / MANIFEST_FILE).write_text(json.dumps({"version": 9, "method": "lora", "tags": ["old"], "future": {"kept": True}}))
    assert catalog.tag("a", add=["new", "old", "new"]).tags == ["old", "new"]
    assert catalog.tag("a", remove=["old"]).tags == ["new"]
    assert json.loads((folder / MANIFEST_FILE).read_text())["future"] == {"kept": True}, "a newer version's keys stay"
    with pytest.raises(UsageError):
        catalog.tag("a", add=["two words"])
    plain = make_adapter(tmp_path / "plain", base)
    assert catalog.tag(str(plain), add=["x"]).tags == ["x"]


def test_pairs(catalog: Catalog, home: Home, base: Path, tmp_path: Path) -> None:
    good = make_adapter(home.adapters / "good", base, targets=("q_proj", "k_proj", "o_proj", "gate_proj", "down_proj"))
    write_manifest(good, Manifest(method="lora", base=BaseRef(name="base", digest=catalog.digest(base))))
    adapter = catalog.adapter("good")
    catalog.check_pair(catalog.model("base"), adapter)

    retrained = catalog.add_model(make_model(tmp_path / "retrained", seed=8))
    with pytest.raises(Incompatible) as info:
        catalog.check_pair(retrained, adapter)
    assert "'base'" in info.value.message
    assert "'retrained'" in info.value.message
    assert info.value.hint
    catalog.check_pair(retrained, adapter, ignore_digest=True)

    wider = catalog.add_model(make_model(tmp_path / "wider", hidden_size=32))
    with pytest.raises(Incompatible, match=r"is 16 in the adapter, 32 in the base"):
        catalog.check_pair(wider, adapter, ignore_digest=True)
    unknown = catalog.adapter(str(make_adapter(tmp_path / "unknown", base)))
    assert unknown.base_digest == ""
    with pytest.raises(Incompatible):
        catalog.check_pair(wider, unknown)


def test_a_pair_with_another_architecture(catalog: Catalog, base: Path, tmp_path: Path) -> None:
    gpt2 = tmp_path / "gpt2"
    config = {"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", "n_embd": 16, "n_layer": 2, "n_head": 2, "vocab_size": 64,
              "n_positions": 64}  # fmt: skip
    gpt2.mkdir()
    (gpt2 / "config.json").write_text(json.dumps(config))
    adapter = catalog.adapter(str(make_adapter(tmp_path / "a", base)))
    with pytest.raises(Incompatible, match="none of the adapter's"):
        catalog.check_pair(catalog.model(str(gpt2)), adapter)


def test_broken_parts_of_a_pair_say_what_is_wrong(catalog: Catalog, home: Home, base: Path) -> None:
    folder = make_adapter(home.adapters / "a", base)
    (folder / "adapter_model.safetensors").write_bytes(b"\x00")
    with pytest.raises(CorruptFile):
        catalog.check_pair(catalog.model("base"), catalog.adapter("a"))
    (folder / "adapter_model.safetensors").rename(folder / "adapter_model.bin")
    with pytest.raises(UnsafeFile):
        catalog.check_pair(catalog.model("base"), catalog.adapter("a"))


def test_lineage_and_differences(catalog: Catalog, home: Home, base: Path) -> None:
    base_ref = BaseRef(name="base", digest=catalog.digest(base))
    first = make_adapter(home.adapters / "first", base, rank=4)
    write_manifest(first, Manifest(method="lora", method_options={"r": 4}, base=base_ref, metrics={"eval_loss": 2.0}))
    digest = catalog.digest(first)
    second = make_adapter(home.adapters / "second", base, rank=8)
    parents = [
        Parent(kind="adapter", relation="combined", digest=digest),
        Parent(kind="adapter", relation="combined", repo="org/x", revision="r"),
    ]
    write_manifest(second, Manifest(method="lora", method_options={"r": 8}, base=base_ref, metrics={"eval_loss": 2.0}, parents=parents))
    rows = {row.key: (row.first, row.second) for row in catalog.diff("first", "second")}
    assert rows["rank"] == rows["options.r"] == (4, 8)
    assert "metrics.eval_loss" not in rows
    assert catalog.diff("first", "first") == []
    ancestors = [(row.depth, row.relation, row.name, row.missing) for row in catalog.lineage("second")]
    assert ancestors == [
        (1, "base", "base", False),
        (1, "combined", "first", False),
        (1, "combined", "org/x", True),
        (2, "base", "base", False),
    ]


def test_manifests_of_other_versions(tmp_path: Path) -> None:
    assert read_manifest(tmp_path) is None
    (tmp_path / MANIFEST_FILE).write_text('{"version": 9, "method": "lora", "unknown": [1]}')
    manifest = read_manifest(tmp_path)
    assert manifest is not None
    assert manifest.method == "lora"
    (tmp_path / MANIFEST_FILE).write_text('{"method": 5}')
    with pytest.raises(CorruptFile, match=MANIFEST_FILE):
        read_manifest(tmp_path)
