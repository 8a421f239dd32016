"""The playground with the real embedded model in a real worker: every journey, by keys."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from finetui.core.catalog.catalog import Catalog
from finetui.core.data.checking import check
from finetui.core.paths import Home
from finetui.core.prompts import read_prompts
from finetui.tui.screens.chat import ChatScreen
from finetui.tui.talk import BLEND, Conversation
from rich.cells import cell_len
from support.adapters import make_adapter
from support.tui import make_lora, opened, painted, type_text, until, until_painted
from textual.pilot import Pilot

CAPITAL = "What is the capital of France?"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with the adapters ``tone`` and ``wild`` of the embedded base."""
    home = Home(tmp_path / "home").create()
    for name, scale, rank in (("tone", 0.05, 4), ("wild", 0.5, 2)):
        Catalog(home).import_adapter(make_lora(tmp_path / "elsewhere" / name, rank, scale))
    return home


@asynccontextmanager
async def playground(home: Home, size: tuple[int, int] = (120, 40), **settings: Any) -> AsyncIterator[tuple[Pilot[int], ChatScreen]]:
    """The app with the playground open and the base loaded."""
    async with opened(home.root, size, **settings) as pilot:
        await pilot.press("3")
        await until_painted(pilot, "Message", "finetui-mini")
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.voices and screen.voices.ready and screen.shelf, seconds=90, what="the base")
        yield pilot, screen


async def ask(pilot: Pilot[int], screen: ChatScreen, prompt: str) -> None:
    """Write a prompt and wait until everybody has answered."""
    screen.message.focus()
    await pilot.pause()
    await type_text(pilot, prompt)
    await pilot.press("enter")
    await until(pilot, lambda: not screen.busy and screen.conversation.last is not None, seconds=90, what="the answers")


def path_of(home: Home, name: str) -> str:
    return str(home.adapters / name)


async def test_answers_swaps_and_stands_side_by_side(home: Home) -> None:
    async with playground(home) as (pilot, screen):
        await until_painted(pilot, "tone", "lora r4", "on disk")
        await ask(pilot, screen, CAPITAL)
        text = await until_painted(pilot, f"you  {CAPITAL}", "Paris", "tok/s", "on cpu")
        assert "finetui-mini (base)  " in text and " ms   " in text
        await pilot.press("escape", "down", "down", "enter")
        assert screen.roster.current == path_of(home, "wild")
        await until_painted(pilot, "▶ wild", "loaded in", "resident")
        await ask(pilot, screen, CAPITAL)
        assert not screen.last_answer.startswith("The capital")
        await until_painted(pilot, "── wild  0.")  # whose swap, and how long it took

        await pilot.press("escape", "space", "k", "space", "k", "space", "i")
        await until_painted(pilot, "✓ wild", "✓ tone", "✓ finetui-mini")
        await pilot.press("ctrl+n")
        await ask(pilot, screen, CAPITAL)
        assert list(screen.answers) == [path_of(home, "wild"), path_of(home, "tone"), ""]
        heads = [line for line in painted(pilot.app).splitlines() if line.startswith(" wild  ")]
        assert len(heads) == 1 and " tone  " in heads[0] and " finetui-mini (base)  " in heads[0]
        await pilot.resize_terminal(80, 24)
        await until(pilot, lambda: any(line.startswith(" tone  ") for line in painted(pilot.app).splitlines()), what="answers in a pile")
        await pilot.resize_terminal(120, 40)
        await until(pilot, lambda: any(" wild  " in line and " tone  " in line for line in painted(pilot.app).splitlines()), what="columns")
        voices = screen.voices
        assert voices is not None
        worker = voices._playground.session.pid  # type: ignore[union-attr]
    assert not Path(f"/proc/{worker}").exists(), "the worker ends with the screen"


async def test_a_blend_with_sliders(home: Home, tmp_path: Path) -> None:
    from finetui.core.embedded import base_model_dir
    from peft import PromptTuningConfig

    prompt = PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4)
    Catalog(home).import_adapter(make_adapter(tmp_path / "virtual", base_model_dir(), config=prompt), "virtual", "finetui-mini")
    tone, wild = path_of(home, "tone"), path_of(home, "wild")
    async with playground(home) as (pilot, screen):
        await pilot.press("escape")
        await pilot.press("b")
        await until_painted(pilot, "put the cursor on an adapter")
        await pilot.press("j", "b")
        await until_painted(pilot, "▶ blend", "tone    ", "▇▇▇▇▇░░░░░  0.50")
        assert "b takes one into it" in (await _reason(pilot, screen, "k", "l"))
        await pilot.press("j", "j", "j", "b")
        await until_painted(pilot, "wild    ")
        assert screen.roster.weights == {tone: 0.5, wild: 0.5}
        await pilot.press("G", "h", "left", "k", "l")
        await until_painted(pilot, "▇▇▇▇▇▇░░░░  0.55", "▇▇▇▇░░░░░░  0.40")
        await ask(pilot, screen, CAPITAL)
        assert screen.answers[BLEND].blend == {tone: 0.55, wild: 0.4}
        await until_painted(pilot, "0.55 tone + 0.40 wild  ")
        first = screen.last_answer

        await pilot.press("escape", "G", *["h"] * 8)
        await ask(pilot, screen, CAPITAL)
        assert screen.answers[BLEND].blend == {tone: 0.55, wild: 0.0}
        assert screen.last_answer != first and "Paris" in screen.last_answer

        await pilot.press("escape", "g", "space", "G", "space", "i")  # the blend beside the base
        await ask(pilot, screen, "Who bakes bread?")
        assert list(screen.answers) == ["", BLEND]
        await pilot.press("escape", "g", "j", "j", "b")
        await until_painted(pilot, "cannot be blended", "virtual tokens")
        assert set(screen.roster.weights) == {tone, wild}
        await pilot.press("escape", "G", "b", "G", "b")
        await until(pilot, lambda: not screen.roster.weights)
        assert screen.roster.answering == [""] and "blend" not in painted(pilot.app).splitlines()[8]


async def _reason(pilot: Pilot[int], screen: ChatScreen, *keys: str) -> str:
    """Why the last key does nothing."""
    await pilot.press(*keys)
    return screen.why_not("more")


async def test_a_model_that_cannot_be_loaded_is_told(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("3")
        await until_painted(pilot, "Message")
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        screen.open(str(tmp_path / "nowhere"))
        await until_painted(pilot, "not found", "nowhere", seconds=60)


async def test_messages_written_while_the_base_loads_are_all_answered_in_order(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    adapter = Catalog(home).import_adapter(make_lora(tmp_path / "elsewhere" / "tone", scale=0.5))
    async with opened(home.root) as pilot:
        await pilot.app.chat_with("finetui-mini", adapter.path)  # type: ignore[attr-defined]
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await until(pilot, lambda: screen.query("#message"))
        for prompt in ("Who bakes bread?", "What is the capital of France?"):
            await type_text(pilot, prompt)
            await pilot.press("enter")
        await until_painted(pilot, "you  Who bakes bread?", "you  What is the capital of France?")
        await until(
            pilot,
            lambda: not screen.busy and [len(exchange.answers) for exchange in screen.conversation.exchanges] == [1, 1],
            seconds=90,
            what="both answers",
        )
        roles = [message["role"] for message in screen.conversation.messages(adapter.path, "")]
        assert roles == ["user", "assistant"] * 2
        lines = painted(pilot.app).splitlines()
        places = [next(n for n, line in enumerate(lines) if line.startswith(start)) for start in (" you  Who", " tone  ", " you  What")]
        assert places == sorted(places)
        voices = screen.voices
        assert voices is not None and voices.ready
        screen.roster.choose(str(tmp_path / "nowhere"))
        await type_text(pilot, "Are you there?")
        await pilot.press("enter")
        await until_painted(pilot, "not found")
        assert screen.voices is voices and voices.alive, "one wrong adapter does not unload the base"


async def test_settings_are_a_pane_and_stand_in_the_title(home: Home) -> None:
    for size in ((60, 20), (120, 40)):
        async with playground(home, size) as (pilot, screen):
            await pilot.press("escape", "o")
            await until_painted(pilot, "max_new_tokens", "temperature", "top_p")
            await pilot.press("j", "enter", "ctrl+u", "1", "enter")
            await until(pilot, lambda screen=screen: screen.pane.manner.temperature == 1.0)
            await until_painted(pilot, "temperature 1")
            await pilot.press("escape")
            await until(pilot, lambda pilot=pilot: "max_new_tokens" not in painted(pilot.app))
            assert "temperature 1" in painted(pilot.app).splitlines()[1]


async def test_again_edit_stop_and_copy(home: Home) -> None:
    async with playground(home) as (pilot, screen):
        await pilot.press("escape", "r")
        await until_painted(pilot, "nothing was asked yet")
        await ask(pilot, screen, CAPITAL)
        await pilot.press("escape", "j", "j", "enter", "escape", "r")
        await until(pilot, lambda: not screen.busy and path_of(home, "wild") in screen.answers, what="the other one's answer")
        assert [exchange.prompt for exchange in screen.conversation.exchanges] == [CAPITAL]
        assert painted(pilot.app).count("you  ") == 1
        await pilot.press("e")
        await until_painted(pilot, "in place of the last one")
        assert screen.message.text == CAPITAL
        await pilot.press("ctrl+u")
        await ask(pilot, screen, "Who bakes bread?")
        assert [exchange.prompt for exchange in screen.conversation.exchanges] == ["Who bakes bread?"]
        assert CAPITAL not in painted(pilot.app) and "in place of" not in painted(pilot.app)
        await pilot.press("escape", "y")
        assert pilot.app.clipboard == screen.last_answer

        # an answer is stopped while the cursor is in the message line, and whoever was to follow is not asked
        screen.pane.manner = type(screen.pane.manner)(max_new_tokens=400, temperature=1.5, repetition_penalty=1.3)
        await pilot.press("g", "space", "j", "j", "space", "i")
        screen.roster.marked = [path_of(home, "wild"), ""]
        await type_text(pilot, "Tell me a long story")
        await pilot.press("enter")
        await until(pilot, lambda: screen.busy and "…" not in painted(pilot.app).splitlines()[-20:], what="the beginning")
        await pilot.press("ctrl+x")
        await until(pilot, lambda: not screen.busy, what="the end")
        await until_painted(pilot, "stopped")
        assert list(screen.answers) in ([], [path_of(home, "wild")])
        assert all(answer.finish == "cancelled" for answer in screen.answers.values())


async def test_again_takes_another_seed_where_answers_are_sampled(home: Home) -> None:
    async with playground(home) as (pilot, screen):
        screen.pane.manner = type(screen.pane.manner)(max_new_tokens=12, temperature=3.0)
        await ask(pilot, screen, CAPITAL)
        seen = {screen.last_answer}
        await pilot.press("escape")
        for seed in (1, 2):
            await pilot.press("r")
            await until(pilot, lambda: not screen.busy and screen.answers, what="another answer")
            assert screen.asked.seed == seed
            seen.add(screen.last_answer)
        assert len(seen) == 3


async def test_prompts_are_saved_chosen_and_keep_their_lines(home: Home) -> None:
    async with playground(home) as (pilot, screen):
        await pilot.press("escape", "p")
        await until_painted(pilot, "no prompt is saved yet")
        await pilot.press("P")
        await until_painted(pilot, "write a prompt first")
        await pilot.press("i")
        await type_text(pilot, "第一行")
        await pilot.press("ctrl+j")
        await type_text(pilot, "second line")
        assert screen.message.text == "第一行\nsecond line"
        await pilot.press("escape", "P")
        await until_painted(pilot, "Save this prompt", "prompts.md")
        await pilot.press("enter", "ctrl+u")
        await type_text(pilot, "two lines")
        await pilot.press("enter", "ctrl+s")
        await until_painted(pilot, "saved 'two lines'")
        assert [(one.name, one.text) for one in read_prompts(home)] == [("two lines", "第一行\nsecond line")]
        with open(home.prompts, "a") as file:
            file.write(f"\n## capital\n{CAPITAL}\n")
        screen.message.value = ""
        screen.message.focus()
        await pilot.press("ctrl+l")  # from inside the message line
        await until_painted(pilot, "Saved prompts", "two lines", CAPITAL)
        await type_text(pilot, "capi")
        await pilot.press("enter")
        await until(pilot, lambda: screen.message.text == CAPITAL)
        await pilot.press("enter")
        await until(pilot, lambda: screen.answers, seconds=90)
        assert "Paris" in screen.last_answer


async def test_an_answer_is_kept_as_a_test_case(home: Home) -> None:
    async with playground(home) as (pilot, screen):
        await pilot.press("escape", "t")
        await until_painted(pilot, "there is no answer yet")
        screen.pane.manner = type(screen.pane.manner)(max_new_tokens=20, system="Be brief.")
        await ask(pilot, screen, CAPITAL)
        await pilot.press("escape", "t")
        await until_painted(pilot, "saved in")
        await pilot.press("g", "space", "j", "space", "i")
        await ask(pilot, screen, "Who bakes bread?")
        await pilot.press("escape", "t")
        await until_painted(pilot, "Which answer is right?", "tone", "finetui-mini (base)")
        await pilot.press("down", "enter")
        await until(pilot, lambda: len(home.test_cases.read_text().splitlines()) == 2)
        tone = screen.answers[path_of(home, "tone")].text
    first, second = map(json.loads, home.test_cases.read_text().splitlines())
    assert [message["content"] for message in first["messages"]][:2] == ["Be brief.", CAPITAL]
    assert first["messages"][-1]["role"] == "assistant" and first["adapter"] is None
    assert first["sampling"] == {"max_new_tokens": 20}
    assert second["adapter"] == path_of(home, "tone") and second["messages"][-1]["content"] == tone
    assert len(second["messages"]) == 5, "the conversation so far belongs to it"
    report = check([home.test_cases])
    assert (report.problem_count, report.rows, report.format) == (0, 2, "messages")


async def test_a_killed_worker_is_told_and_the_conversation_goes_on(home: Home) -> None:
    async with playground(home) as (pilot, screen):
        await ask(pilot, screen, CAPITAL)
        os.kill(screen.voices._playground.session.pid, signal.SIGKILL)  # type: ignore[union-attr]
        await type_text(pilot, "Who bakes bread?")
        await pilot.press("enter")
        await until_painted(pilot, "SIGKILL", "memory")
        await pilot.press("escape")
        await until_painted(pilot, "the worker has ended: R starts another", "no answer: the worker was killed")
        assert screen.message.text == "Who bakes bread?", "what was not answered can be sent again"
        await pilot.press("escape", "R")
        await until_painted(pilot, "on cpu", seconds=90)
        await pilot.press("i")
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: screen.answers and not screen.busy, seconds=90, what="the answer of the new worker")
        assert [exchange.prompt for exchange in screen.conversation.exchanges] == [CAPITAL, "Who bakes bread?"]
        roles = [message["role"] for message in screen.conversation.messages("", "")]
        assert roles == ["user", "assistant"] * 2


async def test_what_finetui_chat_understands_the_message_line_does_too(home: Home) -> None:
    tone, wild = path_of(home, "tone"), path_of(home, "wild")
    async with playground(home) as (pilot, screen):
        for line, answering in (("/swap tone", [tone]), ("/blend tone=0.7 wild=-0.1", [BLEND]), ("/base", [""])):
            await type_text(pilot, line)
            await pilot.press("enter")
            await until(pilot, lambda answering=answering: screen.roster.answering == answering)
        assert screen.roster.weights == {tone: 0.7, wild: -0.1}
        await until(pilot, lambda: screen.roster.resident == {tone, wild}, what="both in memory")
        await ask(pilot, screen, f"/compare {CAPITAL}")
        assert list(screen.answers) == ["", tone, wild, BLEND]
        assert screen.conversation.last is not None and screen.conversation.last.prompt == CAPITAL
        for line, words in (("/swap tune", "did you mean 'tone'"), ("/blend tone=x", "not a finite number")):
            screen.message.value = line
            await pilot.press("enter")
            await until_painted(pilot, words)
            await pilot.press("escape")
        screen.message.value = "/etc is a folder, what is in it?"  # not a command: it is sent
        await pilot.press("enter")
        await until(pilot, lambda: not screen.busy and len(screen.conversation.exchanges) == 2, seconds=90)


async def test_the_list_of_adapters_is_filtered_and_memory_is_given_back(home: Home) -> None:
    async with playground(home) as (pilot, screen):
        await pilot.press("escape", "slash")
        await type_text(pilot, "wil")
        await until(pilot, lambda: "tone" not in painted(pilot.app))
        await pilot.press("enter", "j", "u")
        await until_painted(pilot, "put the cursor on an adapter")
        await pilot.press("enter")
        await until_painted(pilot, "▶ wild", "resident")
        await pilot.press("escape", "u")
        await until_painted(pilot, "on disk")
        assert screen.voices is not None and screen.voices.resident == {}
        await pilot.press("slash", "escape")
        await until_painted(pilot, "tone")


@pytest.mark.parametrize(
    ("size", "ascii_only", "colour"), [((60, 20), True, True), ((80, 24), False, False), ((120, 40), True, False), ((200, 60), False, True)]
)
async def test_every_size_with_and_without_unicode_and_colour(
    home: Home, size: tuple[int, int], ascii_only: bool, colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not colour:
        monkeypatch.setenv("NO_COLOR", "1")
    async with playground(home, size, ascii=ascii_only) as (pilot, screen):
        for line in ("/blend tone=0.7 wild=0.3", f"/compare {CAPITAL}"):
            await ask(pilot, screen, line) if "compare" in line else await _say(pilot, line)
        await until(pilot, lambda: len(screen.answers) == 4 or not screen.busy)
        text = await until_painted(pilot, "Paris" if size[1] > 30 else "finetui-mini", "Message")
        assert all(cell_len(line) <= size[0] for line in text.splitlines()) and len(text.splitlines()) <= size[1]
        if ascii_only:
            assert text.isascii(), sorted(set(filter(lambda character: not character.isascii(), text)))
        await pilot.press("escape", "G")
        await until_painted(pilot, "0.30")


async def _say(pilot: Pilot[int], line: str) -> None:
    await type_text(pilot, line)
    await pilot.press("enter")
    await pilot.pause(0.5)


async def test_chinese_is_wrapped_between_characters(home: Home) -> None:
    prompt = "今天天气怎么样？请告诉我巴黎、伦敦和东京的天气，以及明天去哪里吃饭比较好，谢谢你的帮助，再见，明天再聊天吧。"
    async with playground(home, (80, 24)) as (pilot, screen):
        await ask(pilot, screen, prompt)
        said = [line for line in painted(pilot.app).splitlines() if any("\u4e00" <= character <= "\u9fff" for character in line)]
        assert said[0].startswith(" you  今天"), "the text begins beside the name, not below it"
        assert cell_len(said[0].rstrip()) >= 76
        assert said[1].strip()[0] not in "，。？、"


def test_everybody_hears_everything_and_remembers_their_own_answer() -> None:
    talk = Conversation()
    talk.ask("one")
    assert talk.messages("", "") == [{"role": "user", "content": "one"}]
    talk.answered("", "two")
    talk.ask("three")
    assert [message["content"] for message in talk.messages("/a/tone", "be kind")] == ["be kind", "one", "two", "three"]
    talk.answered("/a/tone", "four")
    talk.answered("", "vier")
    talk.ask("five")
    assert [message["content"] for message in talk.messages("", "")] == ["one", "two", "three", "vier", "five"]
    assert [message["content"] for message in talk.messages("/a/tone", "")] == ["one", "two", "three", "four", "five"]
    assert [message["content"] for message in talk.messages("/a/new", "")] == ["one", "two", "three", "vier", "five"]
    talk.answered("", "six")
    assert talk.messages("/a/tone", "")[-1] == {"role": "user", "content": "five"}, "others' answers to the last prompt are not its own"
    assert talk.withdraw() == "five" and len(talk.exchanges) == 2
