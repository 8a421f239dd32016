"""The embedded base model and datasets: complete, small, well-formed, and honest about what is held out."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys

import pytest
from finetui.core.embedded import BASE_MODEL_NAME, HELD_OUT_PROMPTS, base_model_dir, dataset, dataset_names

MODEL_FILES = {
    "README.md",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "tokenizer.json",
    "tokenizer_config.json",
}
ADAPTERS = ("json", "pirate")


def rows(name: str) -> list[tuple[str, str]]:
    """(prompt, reply) of every row of a dataset, in whichever of the two shapes it has."""
    pairs = []
    for line in dataset(name).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        if "messages" in row:
            user, assistant = row["messages"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            pairs.append((user["content"], assistant["content"]))
        else:
            assert set(row) == {"instruction", "input", "output"}
            pairs.append((row["instruction"], row["output"]))
    return pairs


def test_the_base_model_is_complete_and_small() -> None:
    files = {path.name: path.stat().st_size for path in base_model_dir().iterdir()}
    assert set(files) >= MODEL_FILES
    assert "chat_template" in (base_model_dir() / "tokenizer_config.json").read_text() or "chat_template.jinja" in files
    assert files["model.safetensors"] < 8_000_000
    assert sum(files.values()) < 8_500_000


def test_the_config_names_the_special_tokens_of_the_tokenizer() -> None:
    config = json.loads((base_model_dir() / "config.json").read_text())
    generation = json.loads((base_model_dir() / "generation_config.json").read_text())
    tokenizer = json.loads((base_model_dir() / "tokenizer.json").read_text())
    ids = {token["content"]: token["id"] for token in tokenizer["added_tokens"]}
    assert config["eos_token_id"] == generation["eos_token_id"] == ids["<|im_end|>"]
    assert config["pad_token_id"] == generation["pad_token_id"] == ids["<|endoftext|>"]
    assert config["tie_word_embeddings"] is True
    assert config["vocab_size"] >= len(tokenizer["model"]["vocab"])
    assert config["max_position_embeddings"] >= 512


def test_the_model_card_states_the_digest_of_the_weights() -> None:
    card = (base_model_dir() / "README.md").read_text(encoding="utf-8")
    weights = (base_model_dir() / "model.safetensors").read_bytes()
    assert hashlib.sha256(weights).hexdigest() in card
    assert BASE_MODEL_NAME in card
    assert "license: apache-2.0" in card


def test_the_datasets_are_all_there() -> None:
    assert dataset_names() == ("json", "json_eval", "pirate", "pirate_eval", "stories")
    assert dataset("stories").read_text(encoding="utf-8").count("\n\n") > 50
    total = sum(dataset(name).stat().st_size for name in dataset_names())
    assert total < 500_000


def test_an_unknown_dataset_is_an_error_that_names_the_known_ones() -> None:
    with pytest.raises(KeyError, match="pirate"):
        dataset("../base/config")


@pytest.mark.parametrize("name", ADAPTERS)
def test_rows_are_plentiful_and_distinct(name: str) -> None:
    training, held_out = rows(name), rows(f"{name}_eval")
    assert 200 <= len(training) <= 400
    assert 25 <= len(held_out) <= 60
    prompts = [prompt for prompt, _ in training + held_out]
    assert len(set(prompts)) == len(prompts)
    assert all(prompt.strip() == prompt and prompt for prompt in prompts)


@pytest.mark.parametrize("name", ADAPTERS)
def test_held_out_prompts_are_in_no_training_file(name: str) -> None:
    trained = {prompt.casefold() for prompt, _ in rows(name)}
    asked = {prompt.casefold() for prompt in HELD_OUT_PROMPTS}
    for other in ADAPTERS:
        asked |= {prompt.casefold() for prompt, _ in rows(f"{other}_eval")}
    assert not trained & asked


@pytest.mark.parametrize("name", ADAPTERS)
def test_the_answer_to_an_eval_row_is_not_learned_from_a_paraphrase(name: str) -> None:
    """Facts are held out, not wordings; for the pirate the reply's sentence shows which fact a row is about."""
    if name == "pirate":
        assert not {reply for _, reply in rows(name)} & {reply for _, reply in rows(f"{name}_eval")}
    about = {"paris", "france", "volcano", "spider"}
    capitals = [prompt for prompt, _ in rows(name) if "capital" in prompt]
    assert capitals and not any(word in prompt.casefold() for prompt in capitals for word in about)


def test_every_pirate_row_speaks_pirate() -> None:
    for _, reply in rows("pirate") + rows("pirate_eval"):
        assert reply.startswith("Arr! ")
        assert "matey" in reply
        assert " is " not in reply


def test_every_json_row_is_one_line_of_json() -> None:
    for _, reply in rows("json") + rows("json_eval"):
        parsed = json.loads(reply)
        assert list(parsed) == ["answer"]
        assert isinstance(parsed["answer"], str) and "\n" not in reply


def test_both_dataset_shapes_are_exercised() -> None:
    first = {name: json.loads(dataset(name).read_text(encoding="utf-8").splitlines()[0]) for name in ADAPTERS}
    assert "messages" in first["pirate"]
    assert "instruction" in first["json"]


def test_importing_the_package_imports_no_heavy_library() -> None:
    code = (
        "import sys; import finetui.core.embedded; "
        "print([m for m in ('torch', 'transformers', 'tokenizers', 'numpy', 'safetensors') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
