"""Conversations with tools: read from both shapes, shown by templates that know tools and by those that do not."""

from __future__ import annotations

import json
from itertools import groupby
from typing import Any

import pytest
from finetui.core import registry
from finetui.core.api import DataError, Encoded, Example, LossOn, Rendered, Turn
from finetui.core.data.shaping import recognise
from finetui.core.worker.rendering import ChatRenderer
from support import chats, toolchats
from support.chats import chat_tokenizer

WEATHER = {"name": "get_weather", "description": "Tells the weather.", "parameters": {"type": "object", "properties": {"city": {}}}}
SHAREGPT = {
    "conversations": [
        {"from": "human", "value": "Paris 的天气?"},
        {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "巴黎"}}'},
        {"from": "observation", "value": '{"degrees": 21}'},
        {"from": "gpt", "value": "It is 21 degrees."},
        {"from": "human", "value": "And Oslo?"},
        {"from": "function_call", "value": '{"name": "get_weather", "arguments": {"city": "Oslo"}}'},
        {"from": "observation", "value": '{"degrees": 3}'},
        {"from": "gpt", "value": "Three degrees."},
    ],
    "system": "Be exact.",
    "tools": json.dumps([WEATHER]),
}


def _openai(number: int, city: str, arguments: Any) -> list[dict[str, Any]]:
    call = {"id": f"abcd0000{number}", "type": "function", "function": {"name": "get_weather", "arguments": arguments}}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"abcd0000{number}", "content": '{"degrees": 21}' if city == "巴黎" else '{"degrees": 3}'},
    ]


OPENAI = {
    "messages": [
        {"role": "system", "content": "Be exact."},
        {"role": "user", "content": "Paris 的天气?"},
        *_openai(1, "巴黎", '{"city": "巴黎"}'),
        {"role": "assistant", "content": "It is 21 degrees."},
        {"role": "user", "content": "And Oslo?"},
        *_openai(2, "Oslo", {"city": "Oslo"}),
        {"role": "assistant", "content": "Three degrees."},
    ],
    "tools": [{"type": "function", "function": WEATHER}],
}


def read(row: dict[str, Any]) -> Example:
    return recognise([row]).read(row, "a.jsonl:7")


def test_both_shapes_read_alike() -> None:
    shared, openai = read(SHAREGPT), read(OPENAI)
    assert json.loads(shared.tools) == json.loads(openai.tools) == OPENAI["tools"]
    assert [(t.role, t.content, [(c.name, c.arguments) for c in t.calls]) for t in shared.turns] == [
        (t.role, t.content, [(c.name, c.arguments) for c in t.calls]) for t in openai.turns
    ]
    assert openai.turns[3].call_id == openai.turns[2].calls[0].id == "abcd00001"
    assert shared.turns[2].calls[0].arguments == '{"city": "巴黎"}'


def test_older_spellings() -> None:
    legacy = {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "assistant", "content": None, "function_call": {"name": "f", "arguments": "{}"}},
            {"role": "function", "name": "f", "content": {"deep": [1]}},
            {"role": "assistant", "content": "a"},
        ],
        "functions": [{"name": "f"}],
    }
    turns = read(legacy).turns
    assert (turns[1].calls[0].name, turns[1].calls[0].arguments, turns[2]) == ("f", "{}", Turn("tool", '{"deep": [1]}'))
    several = {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": '[{"name": "f"}, {"name": "g"}]'}]}
    assert [call.name for call in read(several).turns[1].calls] == ["f", "g"]
    assert read({**several, "tools": "[]"}).tools == ""


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"tools": "no list"}, "column 'tools' is not a list of functions but text"),
        ({"tools": [{"description": "x"}]}, "tool 1 of column 'tools' has no name"),
        ({"conversations": [{"from": "function_call", "value": "get_weather(Paris)"}]}, "call 1 of message 1 names no function"),
        (
            {"conversations": [{"from": "function_call", "value": '{"name": "f", "arguments": [1]}'}]},
            "call 1 of message 1 has arguments that are not an object but a list",
        ),
    ],
)
def test_malformed_tools_name_row_and_place(change: dict[str, Any], said: str) -> None:
    row = {**SHAREGPT, **change}
    with pytest.raises(DataError) as caught:
        registry.load("formats", "sharegpt").read(row, "a.jsonl:7")
    assert caught.value.message.startswith(f"a.jsonl:7: {said}")
    assert caught.value.hint


TEMPLATES = {
    "qwen3": toolchats.QWEN3,
    "llama3": toolchats.LLAMA3,
    "mistral": toolchats.MISTRAL,
    "text_arguments": toolchats.TEXT_ARGUMENTS,
    "chatml": chats.CHATML,
    "gemma": toolchats.GEMMA,
    "falcon": toolchats.FALCON,
    "none": None,
}
ENDS = {"mistral": "</s>", "llama3": "<|eot_id|>", "text_arguments": "<|im_end|>", "falcon": "", "none": "</s>"}
KNOWING = ("qwen3", "llama3", "mistral", "text_arguments")


def encode(made: ChatRenderer, example: Example, loss_on: LossOn = "assistant") -> Encoded:
    return made.encode([registry.load("objectives", "sft").render(example, made, loss_on)])[0]


def learned(made: ChatRenderer, encoded: Encoded) -> list[str]:
    """The stretches of text whose tokens carry loss."""
    stretches = groupby(zip(encoded.input_ids, encoded.labels, strict=True), lambda pair: pair[1] != -100)
    return [made.tokenizer.decode([token for token, _ in stretch]).strip() for marked, stretch in stretches if marked]


@pytest.mark.parametrize("row", [SHAREGPT, OPENAI], ids=["sharegpt", "openai"])
@pytest.mark.parametrize("style", TEMPLATES)
def test_calls_carry_loss_and_results_do_not(style: str, row: dict[str, Any]) -> None:
    made, example = ChatRenderer(chat_tokenizer(TEMPLATES[style])), read(row)
    encoded = encode(made, example)
    found, end = learned(made, encoded), ENDS.get(style, "<|im_end|>")
    assert len(found) == 4
    for said, city in ((found[0], "巴黎"), (found[2], "Oslo")):
        assert "get_weather" in said and city in said and said.endswith(end)
        assert "degrees" not in said
    assert found[1] == "It is 21 degrees." + end
    last = found[3].removeprefix("<think>\n\n</think>\n\n")
    assert last == "Three degrees." + ("</s>" if style == "falcon" else end)
    assert "Tells the weather." in encoded.text and '"degrees' in encoded.text.replace("\\", "")
    assert any("knows no tools" in note for note in made.notes) == (style not in KNOWING)
    assert any("no system role" in note for note in made.notes) == (style in ("mistral", "gemma"))
    assert learned(made, encode(made, example, "last")) == found[-1:]
    whole = encode(made, example, "all")
    assert (whole.labels, whole.text) == (encoded.input_ids, encoded.text)


def test_a_template_that_knows_tools_gets_them_as_they_are() -> None:
    made, example = ChatRenderer(chat_tokenizer(toolchats.QWEN3)), read(OPENAI)
    messages = [{key: value for key, value in message.items() if value is not None} for message in OPENAI["messages"]]
    for message in messages:
        for call in message.get("tool_calls", []):
            arguments = call["function"]["arguments"]
            call["function"] = {"name": "get_weather", "arguments": json.loads(arguments) if isinstance(arguments, str) else arguments}
        message.setdefault("content", "")
    expected = made.tokenizer.apply_chat_template(messages, tools=OPENAI["tools"], tokenize=False)
    assert encode(made, example).text == made.whole(example.turns, example.tools) == expected


def test_templates_without_tools_are_told_of_them_in_words() -> None:
    made = ChatRenderer(chat_tokenizer(chats.CHATML))
    text = encode(made, read(SHAREGPT)).text
    assert text.startswith("<|im_start|>system\nBe exact.\n\n")
    assert '<tool_call>\n{"name": "get_weather", "arguments": {"city": "巴黎"}}\n</tool_call><|im_end|>' in text
    assert '<|im_start|>user\n<tool_response>\n{"degrees": 21}\n</tool_response><|im_end|>' in text
    gemma = ChatRenderer(chat_tokenizer(toolchats.GEMMA))
    assert encode(gemma, read(SHAREGPT)).text.startswith("<s><|im_start|>user\nBe exact.\n\n")
    assert len(gemma.notes) == 2


def test_a_call_that_a_template_refuses_names_the_reason() -> None:
    row = {"conversations": [{"from": "human", "value": "q"}, {"from": "function_call", "value": '[{"name": "f"}, {"name": "g"}]'}]}
    with pytest.raises(DataError, match="one call at a time"):
        encode(ChatRenderer(chat_tokenizer(toolchats.LLAMA3)), read(row))


def test_a_template_that_ends_no_turn_gets_an_end_of_text() -> None:
    made = ChatRenderer(chat_tokenizer(toolchats.FALCON))
    turns = (Turn("user", "Hi"), Turn("assistant", "Hello."), Turn("user", "Bye"), Turn("assistant", "So long."))
    (encoded,) = made.encode([Rendered(tuple(made.conversation(turns)))])
    assert encoded.text == "User: Hi\nFalcon: Hello.\nUser: Bye\nFalcon: So long.</s>"
    assert learned(made, encoded) == ["Hello.", "So long.</s>"]
    assert made.whole(turns) == encoded.text
    assert encoded.input_ids[: len(made.generation_prompt(turns[:3]))] == made.generation_prompt(turns[:3])
