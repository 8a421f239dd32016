"""Previews and token lengths: what training would see, through training's own functions."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from finetui.core import registry
from finetui.core.data.shaping import examples
from finetui.core.errors import DataError, NotFound, UsageError
from finetui.core.worker.encoding import EncodingOptions, encode_examples
from finetui.core.worker.loading import load_tokenizer
from finetui.core.worker.preview import lengths, preview
from finetui.core.worker.rendering import ChatRenderer
from support import chats
from support.chats import chat_tokenizer
from support.models import tiny_config
from support.rows import ALPACA, TEXT, write_rows


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder with a configuration, a tokenizer and a chat template; previews need no weights."""
    folder = tmp_path / "model"
    tokenizer = chat_tokenizer(chats.CHATML)
    tokenizer.save_pretrained(folder)
    config = tiny_config("qwen2", len(tokenizer), 0)
    config.max_position_embeddings, config.architectures = 4096, ["Qwen2ForCausalLM"]
    config.save_pretrained(folder)
    return str(folder)


@pytest.fixture
def alpaca(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "a.json", ALPACA))


def test_preview_is_what_training_sees(model: str, alpaca: str) -> None:
    rows = preview(model, [alpaca], n=2)
    tokenizer = load_tokenizer(model)
    objective = registry.load("objectives", "sft")
    trained = encode_examples(examples([alpaca]), ChatRenderer(tokenizer), objective, EncodingOptions(1024))
    assert [(row["input_ids"], row["labels"], row["text"]) for row in rows] == [
        (e.input_ids, e.labels, e.text) for e in trained.encoded[:2]
    ]
    assert rows[0]["text"] == "<|im_start|>user\nName a colour.<|im_end|>\n<|im_start|>assistant\nBlue.<|im_end|>\n"
    for row in preview(model, [alpaca], n=3):
        assert "".join(row["tokens"]) == row["text"]
        assert len(row["tokens"]) == len(row["input_ids"])
    learned = [token for token, label in zip(rows[0]["tokens"], rows[0]["labels"], strict=True) if label != -100]
    assert "".join(learned) == "Blue.<|im_end|>\n"


def test_preview_follows_the_training_options(model: str, alpaca: str) -> None:
    (row,) = preview(model, [alpaca], settings={"loss_on": "all", "system_prompt": "Be odd.", "max_length": 9})
    assert row["labels"] == row["input_ids"]
    assert len(row["input_ids"]) == 9
    assert row["text"].startswith("<|im_start|>system\nBe odd.")
    assert "Blue" not in row["text"]
    (row,) = preview(model, [alpaca], {"prompt": "output", "response": "instruction"})
    assert row["text"].index("Blue.") < row["text"].index("Name a colour.")


def test_preview_reads_no_further_than_it_must(model: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n' * 200 + "torn")
    assert len(preview(model, [str(path)], n=3)) == 3
    with pytest.raises(DataError, match=r"a\.jsonl:201"):
        preview(model, [str(path)], n=201)


def test_preview_errors(model: str, alpaca: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="max_length 8"):
        preview(model, [alpaca], settings={"max_length": 8})
    with pytest.raises(UsageError, match="max_lenght"):
        preview(model, [alpaca], settings={"max_lenght": 8})
    with pytest.raises(NotFound, match=r"absent\.json"):
        preview(model, [str(tmp_path / "absent.json")])
    (tmp_path / "empty").mkdir()
    with pytest.raises(NotFound, match="no tokenizer"):
        preview(str(tmp_path / "empty"), [alpaca])


def test_lengths(model: str, alpaca: str, tmp_path: Path) -> None:
    rows = preview(model, [alpaca], n=3)
    counts = [len(row["input_ids"]) for row in rows]
    found = lengths(model, [alpaca])
    assert found["lengths"] == counts
    assert (found["examples"], found["tokens"], found["min"], found["max"]) == (3, sum(counts), min(counts), max(counts))
    assert found["loss_tokens"] == sum(label != -100 for row in rows for label in row["labels"])
    assert sum(part["count"] for part in found["histogram"]) == 3
    cut = lengths(model, [alpaca], settings={"max_length": 30})
    assert (cut["max"], cut["max_length"], cut["truncated"]) == (30, 30, 2)
    assert cut["examples"] + cut["dropped"] == 3
    assert lengths(model, [str(write_rows(tmp_path / "t.jsonl", TEXT))])["loss_tokens"] > 0
    assert lengths(model, [alpaca], limit=1)["examples"] == 1


def test_histogram_covers_every_length(model: str, shared_data: Any) -> None:
    found = lengths(model, [str(shared_data("alpaca_en_demo.json"))], settings={"max_length": 4096})
    bins = found["histogram"]
    assert all(after["from"] == before["to"] + 1 for before, after in zip(bins, bins[1:], strict=False))
    for part in bins:
        assert part["count"] == sum(part["from"] <= length <= part["to"] for length in found["lengths"])
    assert sum(part["count"] for part in bins) == found["examples"] == 999


def test_reading_data_imports_no_heavy_library() -> None:
    code = (
        "import sys; from finetui.core import registry; from finetui.core.data import checking, shaping;"
        "registry.load_all('formats'); registry.load_all('objectives');"
        "print([name for name in ('torch', 'transformers', 'peft', 'datasets', 'pyarrow', 'numpy') if name in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
