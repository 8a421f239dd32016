"""Formats: shapes recognised, rows read into turns, malformed rows refused with their line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from finetui.core import registry
from finetui.core.api import DataError, Turn
from finetui.core.data.checking import check
from finetui.core.data.shaping import examples, recognise
from support.rows import ALPACA, MESSAGES, PROMPT_RESPONSE, SHAPES, SHAREGPT, TEXT, write_rows


def turns(row: dict[str, Any]) -> list[tuple[str, str]]:
    """The row's turns, its format recognised."""
    return [(turn.role, turn.content) for turn in recognise([row]).read(row, "a.jsonl:7").turns]


@pytest.mark.parametrize("kind", [".json", ".jsonl", ".csv", ".tsv", ".parquet"])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_in_every_kind_of_file(tmp_path: Path, shape: str, kind: str) -> None:
    dataset = examples([write_rows(tmp_path / f"rows{kind}", SHAPES[shape])])
    assert dataset.format == shape
    assert dataset.objective == ("text" if shape == "text" else "sft")
    direct = registry.load("formats", shape)
    expected = [direct.read(row, "") for row in SHAPES[shape]]
    assert [(each.turns, each.text) for each in dataset] == [(each.turns, each.text) for each in expected]


def test_alpaca_turns() -> None:
    assert turns(ALPACA[0]) == [("user", "Name a colour."), ("assistant", "Blue.")]
    assert turns(ALPACA[1]) == [("user", "Translate to French.\n\nGood day"), ("assistant", "Bonjour")]
    dolly = {"instruction": "Who?", "context": "Ann sang.", "response": "Ann", "category": "qa"}
    assert turns(dolly) == [("user", "Who?\n\nAnn sang."), ("assistant", "Ann")]
    full = {"instruction": "c", "input": None, "output": "C", "system": "s", "history": [["a", "A"], ["b", "B"]]}
    assert [role for role, _ in turns(full)] == ["system", "user", "assistant", "user", "assistant", "user", "assistant"]
    assert [content for _, content in turns(full)] == ["s", "a", "A", "b", "B", "c", "C"]


def test_alpaca_with_a_rendered_text_column_is_alpaca() -> None:
    assert recognise([{**ALPACA[0], "text": "Below is an instruction…"}]).name == "alpaca"


@pytest.mark.parametrize(
    ("prompt", "response"), [("prompt", "completion"), ("question", "answer"), ("query", "response"), ("input", "output")]
)
def test_prompt_response_names(prompt: str, response: str) -> None:
    assert turns({prompt: "q", response: "a", "id": 3}) == [("user", "q"), ("assistant", "a")]


def test_preference_pairs_teach_the_chosen_answer() -> None:
    assert turns({"prompt": "q", "chosen": "good", "rejected": "bad"}) == [("user", "q"), ("assistant", "good")]
    row = {
        "conversations": [{"from": "human", "value": "q"}],
        "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"},
    }
    assert turns(row) == [("user", "q"), ("assistant", "good")]


def test_preference_data_of_messages() -> None:
    asked, good = {"role": "user", "content": "q"}, {"role": "assistant", "content": "good"}
    bad = [{"role": "assistant", "content": "bad"}]
    expected = [("user", "q"), ("assistant", "good")]
    assert turns({"prompt": [asked], "chosen": [good], "rejected": bad}) == expected
    assert turns({"prompt": "q", "chosen": [asked, good], "rejected": [asked, *bad]}) == expected
    assert turns({"chosen": [asked, good], "rejected": [asked, *bad]}) == expected


def test_columns_that_are_null_give_way() -> None:
    assert turns({"prompt": None, "question": "q", "response": None, "answer": "a"}) == [("user", "q"), ("assistant", "a")]
    assert turns({"messages": None, **SHAREGPT[0]}) == [("user", "Hi"), ("assistant", "Hello.")]
    orca = {"id": "7", "system_prompt": "s", "question": "q", "response": "a"}
    assert turns(orca) == [("system", "s"), ("user", "q"), ("assistant", "a")]


def test_messages_turns() -> None:
    assert turns(MESSAGES[0]) == [("system", "Be brief."), ("user", "Hi"), ("assistant", "Hello.")]
    under_conversations = {
        "conversations": [{"role": "developer", "content": "d"}, {"role": "Human", "content": "q"}, {"role": "model", "content": "a"}]
    }
    assert turns(under_conversations) == [("system", "d"), ("user", "q"), ("assistant", "a")]
    parts = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]},
            {"role": "assistant", "content": "a"},
        ]
    }
    assert turns(parts) == [("user", "one two"), ("assistant", "a")]
    split = {"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]}
    assert turns(split) == [("user", "q"), ("assistant", "a")]


def test_sharegpt_turns_and_system_column() -> None:
    assert turns(SHAREGPT[1]) == [("system", "Be kind."), ("user", "Bye"), ("assistant", "Farewell.")]
    assert turns({**SHAREGPT[0], "system": "Be odd."})[0] == ("system", "Be odd.")
    assert turns({**SHAREGPT[1], "system": "Be odd."})[0] == ("system", "Be kind.")


BAD_ROWS: list[tuple[dict[str, Any], str]] = [
    ({"instruction": "x", "output": None}, "column 'output' is missing"),
    ({"instruction": 3, "output": "x"}, "column 'instruction' is not text but the number 3"),
    ({"instruction": " ", "input": "", "output": "x"}, "instruction and input are empty"),
    ({"instruction": "x", "output": "x", "history": [["only one"]]}, "column 'history' is not a list of pairs"),
    ({"instruction": "x", "output": "x", "history": [["q", None]]}, "output of history round 1 is missing"),
    ({"prompt": "x", "response": True}, "column 'response' is not text but true or false"),
    ({"prompt": "", "response": "x"}, "column 'prompt' is empty"),
    ({"prompt": "x", "response": "half \ud83d"}, "column 'response' has half of a surrogate pair (\\ud83d) at character 6"),
    ({"messages": []}, "the conversation is empty"),
    ({"messages": "hello"}, "column 'messages' is not a list of messages but text"),
    ({"messages": ["hello"]}, "message 1 is not an object but text"),
    ({"messages": [{"content": "x"}]}, "message 1 has no 'role'"),
    ({"messages": [{"role": "user", "content": "x"}]}, "no answer of the assistant"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "message 1 has the unknown role 'robot'"),
    ({"messages": [{"role": "user", "content": "x"}, {"role": "tool", "content": 5}]}, "'content' of message 2 is not text"),
    ({"messages": [{"role": "assistant", "content": None, "tool_calls": [{}]}]}, "call 1 of message 1 names no function"),
    ({"messages": [{"role": "user", "content": "x"}, {"role": "assistant"}]}, "'content' of message 2 is missing"),
    ({"messages": [{"role": "user", "content": 5}, {"role": "assistant", "content": "x"}]}, "'content' of message 1 is not text"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "'content' of message 1 has a part that is not text"),
    ({"conversations": [{"from": "human", "value": "x"}]}, "no answer of the assistant"),
    ({"conversations": [{"from": "human", "value": "x"}, {"from": "gpt"}]}, "'value' of message 2 is missing"),
    ({"conversations": [{"from": "narrator", "value": "x"}]}, "message 1 has the unknown from 'narrator'"),
    ({"conversations": [{"from": "function_call", "value": "x"}]}, "call 1 of message 1 names no function"),
    ({"conversations": [{"from": "human", "value": "x"}], "chosen": {"from": "gpt", "value": 7}}, "'value' of 'chosen' is not text"),
    ({"conversations": []}, "the conversation is empty"),
    ({"conversations": None}, "column 'conversations' is not a list of messages but null"),
    ({"text": 5}, "column 'text' is not text but the number 5"),
    ({"text": None}, "column 'text' is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("row", "said"), BAD_ROWS, ids=[said for _, said in BAD_ROWS])
def test_bad_rows_are_refused_with_file_line_and_hint(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    path = tmp_path / "a.jsonl"
    good = next(rows for rows in SHAPES.values() if recognise(rows).name == recognise([row]).name)[0]
    path.write_text(f"{json.dumps(good)}\n{json.dumps(row)}\n")
    with pytest.raises(DataError) as caught:
        examples([path])
    assert caught.value.message.startswith(f"{path}:2: {said}")
    assert caught.value.hint
    (listed,) = check([path]).problems
    assert (listed.source, listed.line) == (f"{path}:2", 2)
    assert listed.message.startswith(said)


def test_unknown_shape_names_the_columns(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"fråga": "x", "svar": "y"}])
    with pytest.raises(DataError) as caught:
        examples([path])
    assert caught.value.message == f"{path}:1: the shape of the data is not known; its columns: fråga, svar"
    assert "--columns prompt=fråga,response=svar" in caught.value.hint
    dataset = examples([path], {"prompt": "fråga", "response": "svar"})
    assert dataset.examples[0].turns == (Turn("user", "x"), Turn("assistant", "y"))


def test_columns_that_are_not_there(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"question_text": "x", "svar": "y"}])
    with pytest.raises(DataError) as caught:
        examples([path], {"prompt": "question_txt", "response": "svar"})
    assert caught.value.message == f"{path}: no column 'question_txt'; the columns are question_text, svar"
    assert "'question_text'" in caught.value.hint
    with pytest.raises(DataError) as caught:
        examples([path], {"promt": "question_text", "response": "svar"})
    assert "no format has a column 'promt'" in caught.value.message
    assert "'prompt'" in caught.value.hint


def test_columns_override_what_the_names_suggest(tmp_path: Path) -> None:
    rows = [{"instruction": "unused", "output": "unused", "prompt": "old", "ask": "q", "say": "a"}]
    dataset = examples([write_rows(tmp_path / "a.jsonl", rows)], {"prompt": "ask", "response": "say"})
    assert (dataset.format, [turn.content for turn in dataset.examples[0].turns]) == ("prompt_response", ["q", "a"])
    swapped = examples([write_rows(tmp_path / "b.jsonl", PROMPT_RESPONSE)], {"prompt": "response", "response": "prompt"})
    assert swapped.examples[0].turns == (Turn("user", "Eight."), Turn("assistant", "How many legs has a spider?"))


def test_the_shape_of_most_rows_counts_and_the_odd_row_is_named(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": "stray"}, *PROMPT_RESPONSE])
    with pytest.raises(DataError, match=r"a\.jsonl:1: column 'prompt' is missing"):
        examples([path])


def test_files_of_different_shapes(tmp_path: Path) -> None:
    paths = [write_rows(tmp_path / f"{shape}.jsonl", rows) for shape, rows in SHAPES.items() if shape != "text"]
    dataset = examples(paths)
    assert dataset.format == "alpaca+prompt_response+messages+sharegpt"
    assert len(dataset) == 9
    assert len(examples(paths, limit=4)) == 4
    text = write_rows(tmp_path / "text.jsonl", TEXT)
    with pytest.raises(DataError, match=r"running text \(.*text\.jsonl:1\) and conversations .* are mixed"):
        examples([*paths, text])
    assert examples([*paths, text], objective="text").objective == "text"
    with pytest.raises(DataError, match=r"text\.jsonl:1: the objective 'sft' does not learn from running text"):
        examples([text], objective="sft")


def test_blank_rows_of_text_are_left_out(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", [{"text": ""}, *TEXT, {"text": " \n"}])
    assert len(examples([path])) == 2
    report = check([path])
    assert (report.rows, report.blank_rows, report.problems) == (2, 2, [])
    blank = write_rows(tmp_path / "b.jsonl", [{"text": ""}])
    with pytest.raises(DataError, match="no examples"):
        examples([blank])
    assert check([blank]).problems[0].message == "every row is blank"


def test_check_lists_every_problem(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    lines = [json.dumps(row) for row in PROMPT_RESPONSE] + [
        '{"prompt": ',
        '{"prompt": "x"}',
        "7",
        json.dumps(PROMPT_RESPONSE[0]),
        '{"prompt": "x", "response": ""}',
    ]
    path.write_text("\n".join(lines))
    report = check([path])
    assert [(problem.source, problem.line) for problem in report.problems] == [(f"{path}:{n}", n) for n in (3, 4, 5)]
    assert [problem.message.split(":")[0] for problem in report.problems] == [
        "column 12",
        "column 'response' is missing",
        "the row is a number, not an object",
    ]
    assert (report.format, report.objective, report.rows, report.columns) == ("prompt_response", "sft", 4, ["prompt", "response"])
    assert (report.problem_count, report.duplicates, report.empty_answers) == (3, 1, 1)
    assert report.characters["max"] == max(len(row["prompt"] + row["response"]) for row in PROMPT_RESPONSE)
    assert report.size_bytes == path.stat().st_size


def test_check_reports_what_stops_a_file(tmp_path: Path) -> None:
    empty = tmp_path / "empty.jsonl"
    empty.write_text("")
    unknown = write_rows(tmp_path / "unknown.json", [{"a": 1}])
    torn = tmp_path / "torn.parquet"
    torn.write_bytes(b"PAR1")
    report = check([empty, unknown, torn])
    assert [(problem.source, problem.line) for problem in report.problems] == [(str(empty), None), (f"{unknown}:2", 2), (str(torn), None)]
    assert (report.rows, report.format, report.objective) == (0, "", "")


def test_check_counts_beyond_its_list(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(PROMPT_RESPONSE[0]) + "\n" + "{\n" * 500)
    report = check([path])
    assert (len(report.problems), report.problem_count) == (200, 500)


@pytest.mark.parametrize(
    ("name", "shape", "count"),
    [
        ("alpaca_en_demo.json", "alpaca", 999),
        ("alpaca_zh_demo.json", "alpaca", 1000),
        ("dpo_en_demo.json", "sharegpt", 300),
        ("c4_demo.jsonl", "text", 300),
        ("wiki_demo.txt", "text", 30),
        ("domains_train.jsonl", "text", 1280),
    ],
)
def test_real_files_are_recognised(shared_data: Any, name: str, shape: str, count: int) -> None:
    path = shared_data(name)
    report = check([path])
    assert (report.format, report.rows, report.problems) == (shape, count, [])
    dataset = examples([path])
    assert (dataset.format, dataset.objective, len(dataset)) == (shape, report.objective, count)


def test_chosen_is_the_last_turn_of_real_preference_data(shared_data: Any) -> None:
    path = shared_data("dpo_en_demo.json")
    rows = json.loads(path.read_text(encoding="utf-8"))
    for row, example in zip(rows, examples([path]), strict=True):
        assert example.turns[-1] == Turn("assistant", row["chosen"]["value"])
        assert len(example.turns) == len(row["conversations"]) + 1
