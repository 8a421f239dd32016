"""``data check``: repeated rows with their lines, lengths as a picture, and words for people."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.cli.datatext import print_report
from finetui.core.data.checking import check
from finetui.core.data.repeats import Repeat
from finetui.core.worker.preview import lengths, preview
from support import chats
from support.chats import chat_tokenizer
from support.models import tiny_config
from support.rows import write_rows

PAIRS = [
    {"prompt": "q", "response": "a"},
    {"prompt": "细胞是什么？", "response": "单位"},
    {"prompt": "q", "response": "b"},
    {"prompt": "q", "response": "a"},
    {"prompt": "细胞是什么？", "response": "单位"},
]


@pytest.fixture
def model(tmp_path: Path) -> str:
    """A folder with a configuration and a tokenizer."""
    folder = tmp_path / "model"
    tokenizer = chat_tokenizer(chats.CHATML)
    tokenizer.save_pretrained(folder)
    config = tiny_config("qwen2", len(tokenizer), 0)
    config.architectures = ["Qwen2ForCausalLM"]
    config.save_pretrained(folder)
    return str(folder)


def test_repeated_rows_name_both_lines(tmp_path: Path) -> None:
    first, second = str(write_rows(tmp_path / "a.jsonl", PAIRS)), str(write_rows(tmp_path / "b.parquet", PAIRS[2:3]))
    report = check([first, second])
    assert (report.duplicates, report.conflicts) == (3, 2)
    assert report.duplicate_rows == [
        Repeat(source=f"{first}:4", line=4, first=f"{first}:1", first_line=1),
        Repeat(source=f"{first}:5", line=5, first=f"{first}:2", first_line=2),
        Repeat(source=f"{second}: row 1", line=None, first=f"{first}:3", first_line=3),
    ]
    assert [(repeat.line, repeat.first_line) for repeat in report.conflicting_rows] == [(3, 1), (None, 1)]


def test_conversations_differ_by_their_last_answer_and_texts_by_their_label(tmp_path: Path) -> None:
    def talk(*said: str) -> dict[str, Any]:
        roles = ("user", "assistant")
        return {"messages": [{"role": roles[number % 2], "content": text} for number, text in enumerate(said)]}

    rows = [talk("a", "b"), talk("a", "b", "c", "d"), talk("a", "b", "c", "e"), talk("a", "x", "c", "d")]
    assert [repeat.line for repeat in check([write_rows(tmp_path / "m.jsonl", rows)]).conflicting_rows] == [3]
    labelled = [{"text": "fine", "label": 1}, {"text": "bad", "label": 0}, {"text": "fine", "label": 0}]
    report = check([write_rows(tmp_path / "l.jsonl", labelled)], task="seq-cls")
    assert (report.format, report.objective, report.labels) == ("classification", "classify", {"0": 2, "1": 1})
    assert [(repeat.line, repeat.first_line) for repeat in report.conflicting_rows] == [(3, 1)]
    assert check([write_rows(tmp_path / "l.jsonl", labelled)]).labels == {}


def test_lengths_are_those_of_whole_rows(tmp_path: Path, model: str) -> None:
    rows = [{"prompt": "word " * count, "response": "a"} for count in (1, 10, 100, 100)]
    path = str(write_rows(tmp_path / "a.jsonl", rows))
    found, whole = lengths(model, [path], settings={"max_length": 64}), lengths(model, [path])
    assert (found["truncated"], found["dropped"], found["examples"]) == (2, 2, 2)
    assert found["histogram"] == whole["histogram"]
    assert found["whole"]["max"] == whole["max"] > 64 > found["max"]
    assert sum(part["count"] for part in found["histogram"]) == 4


def test_words_for_people(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    import msgspec

    path = str(write_rows(tmp_path / "a.jsonl", [*PAIRS, {"prompt": "word " * 100, "response": "a"}]))
    row = msgspec.to_builtins(check([path]))
    print_report({**row, "tokens": lengths(model, [path], settings={"max_length": 64})})
    said = capsys.readouterr().out
    assert "1 to 32" in said and "#" in said
    assert "1 row would be cut to max_length 64, and 1 row left out" in said
    assert "the same as an earlier row: 2 rows\n  a.jsonl line 4, first in 1\n  a.jsonl line 5, first in 2\n" in said
    assert "the same prompt as an earlier row, with another answer: 1 row\n  a.jsonl line 3, first in 1\n" in said


def test_preview_of_classified_texts_and_of_tools(tmp_path: Path, model: str) -> None:
    labelled = write_rows(tmp_path / "l.jsonl", [{"text": "fine", "label": "good"}, {"text": "bad", "label": "poor"}])
    first, second = preview(model, [str(labelled)], n=2, task="seq-cls")
    assert (first["label"], second["label"]) == ("good", "poor")
    assert set(first["labels"]) == {-100}
    assert lengths(model, [str(labelled)], task="seq-cls")["loss_tokens"] == 2
    call = {"from": "function_call", "value": json.dumps({"name": "f", "arguments": {"x": 1}})}
    talk = [{"from": "human", "value": "q"}, call, {"from": "observation", "value": "7"}, {"from": "gpt", "value": "It is 7."}]
    path = str(write_rows(tmp_path / "t.jsonl", [{"conversations": talk, "tools": [{"name": "f"}]}]))

    def learned(loss_on: str) -> str:
        (row,) = preview(model, [path], settings={"loss_on": loss_on})
        return "".join(token for token, label in zip(row["tokens"], row["labels"], strict=True) if label != -100)

    call_text = '<tool_call>\n{"name": "f", "arguments": {"x": 1}}\n</tool_call><|im_end|>\n'
    assert learned("assistant") == call_text + "It is 7.<|im_end|>\n"
    assert learned("last") == "It is 7.<|im_end|>\n"
    assert "<tool_response>\n7\n" in learned("all")
