"""Model cards: front matter that YAML readers and the Hub accept, text that says what is known and no more."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from finetui.core.catalog.entries import AdapterEntry
from finetui.core.catalog.manifest import BaseRef, DataRef, Manifest, write_manifest
from finetui.core.errors import Refused
from finetui.core.paths import Home
from finetui.hub.card import model_card
from finetui.hub.transfer import make_parcel, plan_push
from support.folders import make_adapter, make_model


def front_matter(card: str) -> dict[str, Any]:
    assert card.startswith("---\n")
    return yaml.safe_load(card.split("---\n")[1])


@pytest.fixture
def entry() -> AdapterEntry:
    return AdapterEntry(name="a", path="/x", method="qlora", peft_type="LORA", parameters=1234567, task="causal-lm", tags=["pirate: arr"])


def test_everything_known_is_in_it(entry: AdapterEntry) -> None:
    manifest = Manifest(
        method="qlora", method_options={"r": 8, "target_modules": ["q|v"]}, training_options={"max_steps": 5}, seed=3,
        base=BaseRef(name="org/base", hub_id="org/base", revision="c0ffee", digest="ab" * 32),
        data=DataRef(files=["rows: 1.jsonl"], rows=7, digest="d" * 64), versions={"peft": "0.21.2"},
        metrics={"eval_loss": 1.25, "perplexity": float("nan"), "accuracy": float("inf"), "steps": 5},
    )  # fmt: skip
    card = model_card(entry, manifest, "ada/a", "org/base")
    head = front_matter(card)
    assert head["base_model"] == "org/base"
    assert head["base_model_relation"] == "adapter"
    assert (head["library_name"], head["pipeline_tag"]) == ("peft", "text-generation")
    assert head["tags"] == ["base_model:adapter:org/base", "qlora", "finetui", "pirate: arr"]
    (result,) = head["model-index"][0]["results"]
    assert result["metrics"] == [{"type": "eval_loss", "value": 1.25}]
    assert result["dataset"]["name"] == "rows: 1.jsonl"
    assert "nan" not in card.lower()
    assert 'PeftModel.from_pretrained(base, "ada/a")' in card
    assert "| r | 8 |" in card
    assert "q\\|v" in card
    assert "| peft version | 0.21.2 |" in card
    assert "c0ffee" in card
    assert "1,234,567 parameters" in card


def test_the_figures_name_the_data_they_come_from(entry: AdapterEntry) -> None:
    manifest = Manifest(method="lora", data=DataRef(files=["train.jsonl"]), metrics={"eval_loss": 1.5, "steps": 5})
    assert "rows of its own training data" in model_card(entry, manifest, "ada/a", "org/base")
    manifest.data.eval_files, manifest.data.eval_digest = ["held-out.jsonl"], "e" * 64
    card = model_card(entry, manifest, "ada/a", "org/base")
    assert "rows of its own training data" not in card
    assert "| evaluation data | held-out.jsonl |" in card
    assert front_matter(card)["model-index"][0]["results"][0]["dataset"]["name"] == "held-out.jsonl"
    manifest.metrics = {"steps": 5}
    assert "evaluation figures" not in model_card(entry, manifest, "ada/a", "org/base")


def test_what_is_unknown_is_left_out(entry: AdapterEntry) -> None:
    card = model_card(entry, Manifest(method="qlora"), "a", "")
    head = front_matter(card)
    assert "base_model" not in head
    assert "model-index" not in head
    assert "license" not in head
    assert "## Figures" not in card
    assert "evaluation" not in card


@pytest.mark.parametrize(
    ("readme", "licence"),
    [
        ("---\nlicense: other\nlicense_name: mine\ntags: [a]\n---\n# Base", {"license": "other", "license_name": "mine"}),
        ("# Base", {}),
        ("---\nlicense: [\n---\n", {}),
        ("---\nlicense: [mit]\n---\n", {}),
    ],
)
def test_the_licence_is_the_bases(tmp_path: Path, readme: str, licence: dict[str, str]) -> None:
    home = Home(tmp_path / "home").create()
    base = make_model(home.models / "base")
    make_adapter(home.adapters / "a", base)
    (base / "README.md").write_text(readme)
    head = front_matter(plan_push(home, "a", "ada/a").card)
    assert {key: value for key, value in head.items() if key.startswith("license")} == licence


def test_links_out_of_the_folder_are_not_published(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    folder = make_adapter(home.adapters / "a", make_model(home.models / "base"))
    assert plan_push(home, "a", "ada/a").files
    (tmp_path / "secret").write_text("secret")
    (folder / "notes.txt").symlink_to(tmp_path / "secret")
    with pytest.raises(Refused, match=r"notes\.txt"):
        plan_push(home, "a", "ada/a")


def test_a_classifier(entry: AdapterEntry) -> None:
    entry.task = "seq-cls"
    card = model_card(entry, Manifest(method="lora"), "ada/a", "org/base")
    assert front_matter(card)["pipeline_tag"] == "text-classification"
    assert "AutoModelForSequenceClassification" in card


def test_a_full_fine_tune_is_published_as_a_model(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    folder = make_model(home.models / "tuned")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "_name_or_path": str(tmp_path / "base")}))
    (folder / "training_args.bin").write_bytes(b"\x80")
    write_manifest(folder, Manifest(kind="model", name="tuned", method="full", base=BaseRef(name="org/base", hub_id="org/base")))
    plan = plan_push(home, "tuned", "ada/tuned")
    assert {file.path for file in plan.files} == {"README.md", "config.json", "finetui.json", "model.safetensors"}
    parcel = make_parcel(home, "tuned", "ada/tuned")
    assert json.loads(parcel.contents["config.json"]) == {**config, "_name_or_path": "base"}  # type: ignore[arg-type]
    head = front_matter(plan.card)
    assert (head["library_name"], head["base_model_relation"]) == ("transformers", "finetune")
    assert 'AutoModelForCausalLM.from_pretrained("ada/tuned")' in plan.card
    assert "PeftModel" not in plan.card


def test_a_deltas_card_says_how_to_put_it_onto_the_base() -> None:
    entry = AdapterEntry(name="d", path="/x", artifact="delta", method="top_layers", parameters=10, task="seq-cls")
    card = model_card(entry, Manifest(method="top_layers", task="seq-cls", labels=["a", "b", "c"]), "ada/d", "org/base")
    head = front_matter(card)
    assert (head["library_name"], head["base_model_relation"]) == ("finetui", "finetune")
    assert "A `top_layers` delta" in card and "It works with that model only." in card
    code = card.split("```python\n")[1].split("```")[0]
    compile(code, "card", "exec")
    assert 'AutoModelForSequenceClassification.from_pretrained("org/base", num_labels=3)' in code and "load_state_dict(delta" in code


def test_a_classifiers_card_says_so_and_names_its_classes(tmp_path: Path) -> None:
    entry = AdapterEntry(name="c", path=str(tmp_path), method="lora", peft_type="LORA", task="seq-cls", labels=["no", "yes"], parameters=1)
    card = model_card(entry, Manifest(method="lora", task="seq-cls", metrics={"accuracy": 0.9, "f1": 0.8}), "me/c", "org/base")
    assert 'pipeline_tag: "text-classification"' in card
    assert """AutoModelForSequenceClassification.from_pretrained("org/base", num_labels=2, id2label={0: 'no', 1: 'yes'})""" in card
    assert '"type": "accuracy", "value": 0.9' in card


def test_an_adapter_of_our_own_type_says_what_it_needs(entry: AdapterEntry) -> None:
    entry.peft_type = "FINETUI"
    manifest = Manifest(method="unipelt", metrics={"eval_loss": 1.0, "gates": {"lora": {"model.layers.0": 0.5}}})
    card = model_card(entry, manifest, "ada/a", "org/base")
    snippet = card.split("```python\n")[1].split("```")[0]
    assert snippet.startswith("import finetui.core.worker.tuners")
    assert front_matter(card)["model-index"][0]["results"][0]["metrics"] == [{"type": "eval_loss", "value": 1.0}]
