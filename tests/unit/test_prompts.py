"""Saved prompts and test cases: files that people and other commands read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from finetui.core.data.checking import check
from finetui.core.errors import DiskError, UsageError
from finetui.core.paths import Home
from finetui.core.prompts import Prompt, read_prompts, save_prompt
from finetui.core.testcases import save_case


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home").create()


def test_prompts_come_back_as_they_were_saved(home: Home) -> None:
    assert read_prompts(home) == []
    texts = {
        "capital": "What is the capital of France?",
        "首都": "法国的首都是哪里？",
        "code": "Fix this:\n\n    def f():\n        pass\n\n# a comment\n### deeper",
        "markdown": "## not a heading\ntext\n\\## with a backslash\n\\\\## with two\n##",
    }
    for name, text in texts.items():
        save_prompt(home, name, text)
    assert read_prompts(home) == [Prompt(name, text) for name, text in texts.items()]


def test_what_people_wrote_stays(home: Home) -> None:
    home.prompts.write_text("My notes.\n\n## a\r\n\nfirst\n\n\n## b\nsecond", encoding="utf-8")
    assert read_prompts(home) == [Prompt("a", "first"), Prompt("b", "second")]
    save_prompt(home, "c", "third")
    save_prompt(home, "b", "another\n")
    assert read_prompts(home) == [Prompt("a", "first"), Prompt("b", "another"), Prompt("c", "third")]
    assert home.prompts.read_text().startswith("My notes.\n\n## a\n\nfirst\n\n\n## b\nanother\n")


def test_what_cannot_be_a_prompt(home: Home) -> None:
    for name, text in (("", "x"), ("a\nb", "x"), ("a", " \n")):
        with pytest.raises(UsageError):
            save_prompt(home, name, text)
    home.prompts.mkdir()
    with pytest.raises(DiskError, match=r"prompts\.md"):
        read_prompts(home)


def test_test_cases_are_data(home: Home) -> None:
    for number in range(3):
        if number == 2:  # an editor took the last line's end away
            home.test_cases.write_bytes(home.test_cases.read_bytes().rstrip(b"\n"))
        talk = [
            {"role": "system", "content": "Be brief."}, {"role": "user", "content": f"问题 {number}"},
            {"role": "assistant", "content": "答案"},
        ]  # fmt: skip
        save_case(home, talk, model="m", adapter="/a/tone", sampling={"temperature": 0.7})
    report = check([home.test_cases])
    assert (report.format, report.rows, report.problem_count, report.conflicts) == ("messages", 3, 0, 0)
    row = json.loads(home.test_cases.read_text().splitlines()[0])
    assert (row["adapter"], row["sampling"], row["blend"]) == ("/a/tone", {"temperature": 0.7}, {})
    with pytest.raises(UsageError):
        save_case(home, talk[:-1], model="m")
    with pytest.raises(UsageError):
        save_case(home, [*talk[:-1], {"role": "assistant", "content": " "}], model="m")
