"""The copied command and the copied file ask for exactly what the form asks for: proven by parsing them with the command line."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

import pytest
from finetui.cli import compare as compare_command
from finetui.cli import train as train_command
from finetui.core import registry
from finetui.core.compare.asking import Question
from finetui.core.config import Settings
from finetui.core.embedded import BASE_MODEL_NAME, dataset
from finetui.core.errors import UsageError
from finetui.core.options import Option, describe, parse
from finetui.core.paths import Home, config_file
from finetui.core.runs.requests import train_request
from finetui.core.training import TrainingOptions
from finetui.tui.answers import Answers
from finetui.tui.screens.new_run import NewRunScreen
from finetui.tui.screens.words import WordsDialog
from support.tui import opened, until_painted

METHODS = registry.names("methods")
USUAL = Settings()


class Asked(Exception):
    """Instead of a launch."""


def asked_by(words: list[str], home: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """What a command line asks the core for, after the command line's own parsing: keywords of a training, or a question."""

    def train(_: Any, **keywords: Any) -> None:
        raise Asked(keywords)

    def compare(_: Any, question: Question) -> None:
        raise Asked(question)

    monkeypatch.setattr(train_command, "train_request", train)
    monkeypatch.setattr(compare_command, "compare_request", compare)
    assert words[0] == "finetui"
    command = {"train": train_command.train, "compare": compare_command.compare}[words[1]]
    with pytest.raises(Asked) as caught:
        command.main([*words[2:], "--home", str(home)], standalone_mode=False)
    return caught.value.args[0]


def by_both_ways(answers: Answers, usual: Settings, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the command, and the file, ask for."""
    file = folder / "run.toml"
    file.write_text(answers.toml(usual))
    lines = [shlex.split(answers.command(usual)), shlex.split(answers.file_command.replace("FILE.toml", str(file)))]
    return [asked_by(words, folder / "home", monkeypatch) for words in lines]


def same_training(keywords: dict[str, Any], answers: Answers) -> None:
    """The command line's keywords are those that the form starts with."""
    wanted = {**answers.arguments(), "task": answers.task or None, "executor": "local"}
    assert keywords == wanted


def other_value(owner: type, row: Option) -> Any:
    """A value of an option that is not its default, and that its declaration allows."""
    odd: list[Any] = [
        ["norms", "biases"],
        ["q_proj", "it's, odd"],
        [0, 3],
        {"layers.0.q_proj": 4},
        True,
        False,
        1,
        2,
        9,
        0.5,
        7.25,
        'say "no"\n',
    ]
    for value in [*row.choices, *odd]:
        if value != row.default and _allowed(owner, row.name, value):
            return value
    raise AssertionError(row)


def _allowed(owner: type, name: str, value: Any) -> bool:
    try:
        parse(owner, {name: value})
    except UsageError:
        return False
    return True


@pytest.mark.parametrize("method", METHODS)
def test_every_option_of_every_method(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    owners = [TrainingOptions, registry.load("methods", method).options]
    settings = {row.name: other_value(owner, row) for owner in owners for row in describe(owner)}
    answers = Answers(model="m", data=["/d/a b.jsonl", "/d/c.csv"], method=method, settings=settings)
    for keywords in by_both_ways(answers, USUAL, tmp_path, monkeypatch):
        same_training(keywords, answers)


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"name": "first", "task": "seq-cls", "columns": {"text": "a review", "label": "true"}}, {"objective": "text", "seed": 3},
        {"eval_data": ["/d/e.jsonl"], "eval_split": 0.25}, {"gpus": "0,1", "share_gpu": True}, {"gpus": "none", "split_seed": 0},
    ],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("configured", [{}, {"gpus": "1", "share_gpu": True}], ids=str)
def test_every_answer(changes: dict[str, Any], configured: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FINETUI_CONFIG", str(tmp_path / "config.toml"))
    config_file().write_text(
        "".join(f"{key} = {str(value).lower() if value is True else repr(value)}\n" for key, value in configured.items())
    )
    answers = Answers(model="m", data=["/d/a.jsonl"], **changes)
    for keywords in by_both_ways(answers, Settings(**configured), tmp_path, monkeypatch):
        same_training(keywords, answers)


def test_a_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = Answers(
        model="m", data=["/d/a.jsonl"], method="lora", settings={"r": 8, "max_steps": 9}, seed=2, seeds=3, task="causal-lm",
        columns={"prompt": "q"}, gpus="none",
    )  # fmt: skip
    answers.choose(["lora", "lora_adapter", "full"])
    answers.settings |= {"lora_adapter:lora.r": 4, "lora:rank_pattern": {"layers.0.q_proj": 2}}
    assert answers.settings["lora:r"] == 8
    for question in by_both_ways(answers, USUAL, tmp_path, monkeypatch):
        plain = {key: list(value) if isinstance(value, tuple) else value for key, value in vars(question).items()}
        assert Question(**plain) == answers.question()


def test_what_was_set_for_a_method_stays_with_it() -> None:
    answers = Answers(method="lora", settings={"r": 8, "max_steps": 9})
    answers.choose(["lora", "ia3"])
    answers.settings["ia3:target_modules"] = ["k_proj"]
    answers.choose(["ia3", "lora", "full"])
    assert answers.settings == {"max_steps": 9, "ia3:target_modules": ["k_proj"], "lora:r": 8}
    answers.choose(["lora"])
    assert answers.settings == {"max_steps": 9, "r": 8} and not answers.comparing
    answers.choose(["qlora"])
    assert answers.settings == {"max_steps": 9, "r": 8}, "the rank goes over to a method that has one as well"


def test_a_clone_asks_for_the_same_rows() -> None:
    answers = Answers.of_request({"model": "m", "data": ["/d/a.jsonl"], "method": "lora", "seed": 5, "split_seed": 2})
    assert "--split-seed 2" in answers.command(USUAL)


async def test_shown_and_copied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path / "home", (80, 24)) as pilot:
        pilot.app.push_screen(NewRunScreen(model=BASE_MODEL_NAME, embedded_data="pirate", ready=True))
        await until_painted(pilot, "New run", "fits")
        screen = pilot.app.screen
        assert isinstance(screen, NewRunScreen)
        await pilot.press("y")
        assert pilot.app.clipboard == screen.answers.command(USUAL)
        same_training(asked_by(shlex.split(pilot.app.clipboard), tmp_path / "home", monkeypatch), screen.answers)
        await pilot.press("e")
        await until_painted(pilot, "finetui train --model finetui-mini", "-c FILE.toml")
        assert isinstance(pilot.app.screen, WordsDialog)
        await pilot.press("Y")
        assert pilot.app.clipboard == screen.answers.toml(USUAL)
        file = tmp_path / "copied.toml"
        file.write_text(pilot.app.clipboard)
        same_training(asked_by(["finetui", "train", "-c", str(file)], tmp_path / "home", monkeypatch), screen.answers)
        await pilot.press("y")
        assert pilot.app.clipboard.startswith("finetui train")


def test_the_same_request(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Down to the request that is written into the run, checked against the real core."""
    home = Home(tmp_path / "home").create()
    answers = Answers(
        model=BASE_MODEL_NAME, data=[str(dataset("pirate"))], name="one", gpus="none",
        settings={"r": 8, "max_steps": 5, "target_modules": ["q_proj"]},
    )  # fmt: skip
    wanted = train_request(home, **answers.arguments())
    for keywords in by_both_ways(answers, USUAL, tmp_path, monkeypatch):
        assert train_request(home, **keywords) == wanted
