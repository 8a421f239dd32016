"""Chat with the real embedded model in a real worker: streaming, swapping, two voices on one prompt."""

from __future__ import annotations

from pathlib import Path

from finetui.core.catalog.catalog import Catalog
from finetui.core.paths import Home
from finetui.tui.screens.chat import ChatScreen
from finetui.tui.talk import Conversation, voice_name
from support.tui import make_lora, opened, painted, type_text, until, until_painted


async def test_answers_swaps_and_compares(tmp_path: Path) -> None:
    home = Home(tmp_path / "home").create()
    Catalog(home).import_adapter(make_lora(tmp_path / "elsewhere" / "tone", scale=0.5))
    async with opened(home.root) as pilot:
        await pilot.press("3")
        await until_painted(pilot, "finetui-mini", "Message", "tone  lora r4")
        screen = pilot.app.screen
        assert isinstance(screen, ChatScreen)
        await type_text(pilot, "What is the capital of France?")
        await pilot.press("enter")
        await until_painted(pilot, "you  What is the capital of France?", "Paris", "tok/s", seconds=90)
        base_answer = screen.last_answer
        assert not screen.busy and "on cpu" in painted(pilot.app)

        await pilot.press("escape", "down", "enter")
        assert screen.current.endswith("tone")
        await until_painted(pilot, "▶ tone", "loaded in")
        await type_text(pilot, "What is the capital of France?")
        await pilot.press("enter")
        await until(pilot, lambda: screen.last_answer != base_answer and not screen.busy, what="the adapter's answer")
        await until_painted(pilot, "tone  swap", "ms")

        await pilot.press("escape", "space", "k", "space", "i")
        await until_painted(pilot, "✓ tone", "✓ finetui-mini")
        await pilot.press("ctrl+n")
        await type_text(pilot, "Who bakes bread?")
        await pilot.press("enter")
        await until_painted(pilot, "tone  swap", "finetui-mini (base)  swap")
        await until(pilot, lambda: not screen.busy)
        assert set(screen.conversation.histories) == {"", screen.current}
        voices = screen.voices
        assert voices is not None
        worker = voices._playground.session.pid  # type: ignore[union-attr]
    assert not Path(f"/proc/{worker}").exists(), "the worker ends with the screen"


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
            lambda: not screen.busy and len(screen.conversation.histories.get(adapter.path, [])) == 4,
            seconds=90,
            what="both answers",
        )
        roles = [message["role"] for message in screen.conversation.histories[adapter.path]]
        assert roles == ["user", "assistant"] * 2
        text = painted(pilot.app)
        assert text.index("bakes bread") < text.index("tone  swap") < text.index("capital of France")
        voices = screen.voices
        assert voices is not None and voices.ready
        screen.current = str(tmp_path / "nowhere")
        await type_text(pilot, "Are you there?")
        await pilot.press("enter")
        await until_painted(pilot, "not found")
        assert screen.voices is voices and voices.alive, "one wrong adapter does not unload the base"


async def test_sampling_settings(tmp_path: Path) -> None:
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("3")
        screen = pilot.app.screen
        await until_painted(pilot, "Message")
        assert isinstance(screen, ChatScreen)
        await pilot.press("escape", "o")
        await until_painted(pilot, "How answers are written", "temperature")
        await pilot.press("j", "enter", "ctrl+u", "1", "enter", "ctrl+s")
        await until(pilot, lambda: screen.sampling.temperature == 1.0)


def test_a_voice_that_joins_later_knows_what_was_said() -> None:
    talk = Conversation()
    assert talk.ask("", "one", "") == [{"role": "user", "content": "one"}]
    talk.answered("", "two")
    assert [message["content"] for message in talk.ask("/a/tone", "three", "be kind")] == ["be kind", "one", "two", "three"]
    talk.answered("/a/tone", "four")
    assert [message["content"] for message in talk.ask("", "five", "")] == ["one", "two", "five"]
    talk.clear()
    assert talk.histories == {}
    assert voice_name("/a/tone", "m") == "tone" and voice_name("", "org/m") == "org/m (base)"
