"""What is written as a value is read back as the same value."""

from __future__ import annotations

from typing import Any

import pytest
from finetui.core.tomltext import read_value, write_file, write_value

TRICKY = [
    "cosine", "constant_with_warmup", "none", "true", "inf", "nan", "null", "2020-01-01", "-x", "", "two words", "it's", "q\"uo\\te\n♥\x7f",
    1, -3, 1e-5, 1e22, 0.1, True, False, None, [], {}, ["q_proj", "a.b"], [0, 1], {"layers.0.q_proj": 4, "plain": "two words"},
    {"a": {"b": [True]}},
]  # fmt: skip


@pytest.mark.parametrize("value", TRICKY, ids=repr)
def test_values_are_read_back(value: Any) -> None:
    written = write_value(value)
    assert "\n" not in written
    back = read_value(written)
    assert back == value and type(back) is type(value)


def test_words_go_without_quotation_marks() -> None:
    assert [write_value(value) for value in ("cosine", "two words", {"a": "b"}, None)] == ["cosine", '"two words"', '{a = "b"}', "none"]


def test_files_leave_out_what_toml_cannot_say() -> None:
    assert write_file({"set": {"r": 8, "lora:r": None}, "name": None}) == "[set]\nr = 8\n"
