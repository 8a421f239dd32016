"""The catalog: what is on this machine, what it is, and what can be done with it."""

from __future__ import annotations

from pathlib import Path

import pytest
from finetui.core.catalog.catalog import Catalog
from finetui.core.paths import Home
from finetui.tui.screens.catalog import CatalogScreen
from support.tui import SIZES, make_lora, opened, painted, type_text, until, until_painted
from textual.pilot import Pilot


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A home with one imported adapter."""
    place = Home(tmp_path / "home").create()
    Catalog(place).import_adapter(make_lora(tmp_path / "elsewhere" / "tone"))
    return place.root


async def choose(pilot: Pilot[int], name: str) -> None:
    """Put the cursor on an entry."""
    screen = pilot.app.screen
    assert isinstance(screen, CatalogScreen)
    await until(pilot, lambda: any(entry.name == name for entry in screen.entries.values()), what=name)
    screen.lines.choose(next(key for key, entry in screen.entries.items() if entry.name == name))
    await pilot.pause()


@pytest.mark.parametrize("size", SIZES)
async def test_shows_an_imported_adapter_below_its_base(home: Path, size: tuple[int, int]) -> None:
    async with opened(home, size) as pilot:
        await pilot.press("2")
        text = await until_painted(pilot, "finetui-mini", "└ tone")
        assert text.index("finetui-mini") < text.index("└ tone")
        assert "1 model, 1 adapter" in text


async def test_details_with_digest(home: Path) -> None:
    async with opened(home) as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        digest = Catalog(Home(home)).digest(home / "adapters" / "tone")
        await until_painted(pilot, "lora (LORA)", "rank        4", digest[:16], "finetui-mini", "folder")


async def test_filter(home: Path) -> None:
    async with opened(home) as pilot:
        await pilot.press("2")
        await until_painted(pilot, "└ tone")
        await pilot.press("slash")
        await type_text(pilot, "nothing like it")
        await until_painted(pilot, "nothing matches the filter")
        await pilot.press("escape")
        await until_painted(pilot, "└ tone")


async def test_import_by_typing_a_path_and_errors_in_words(tmp_path: Path) -> None:
    make_lora(tmp_path / "stuff" / "voice")
    async with opened(tmp_path / "home") as pilot:
        await pilot.press("2")
        await until_painted(pilot, "finetui-mini")
        await pilot.press("i")
        await until_painted(pilot, "Import a model or adapter folder")
        await type_text(pilot, str(tmp_path / "stuff") + "/voi")
        await until_painted(pilot, "voice/")
        await pilot.press("enter")
        await until_painted(pilot, "└ voice", "voice is in the catalog")
        await pilot.press("i")
        await type_text(pilot, str(tmp_path / "stuff") + "/voi")
        await until_painted(pilot, "voice/")
        await pilot.press("enter")
        await until_painted(pilot, "✖ name taken")
        await pilot.press("enter")
        await until(pilot, lambda: "name taken" not in painted(pilot.app))


async def test_delete_asks_and_the_embedded_base_stays(home: Path) -> None:
    async with opened(home) as pilot:
        await pilot.press("2")
        await choose(pilot, "finetui-mini")
        await pilot.press("d")
        await until_painted(pilot, "finetui-mini is built in")
        await choose(pilot, "tone")
        await pilot.press("d")
        await until_painted(pilot, "Delete adapter tone?")
        await pilot.press("escape")
        assert (home / "adapters" / "tone").exists()
        await pilot.press("d")
        await until_painted(pilot, "Delete adapter tone?")
        await pilot.press("j", "enter")
        await until(pilot, lambda: not (home / "adapters" / "tone").exists())
        await until(pilot, lambda: "└ tone" not in painted(pilot.app))


async def test_reasons_why_not(home: Path, tmp_path: Path) -> None:
    folder = make_lora(tmp_path / "other")
    config = folder / "adapter_config.json"
    config.write_text(config.read_text().replace("finetui-mini", "someone/else"))
    Catalog(Home(home)).import_adapter(folder)
    async with opened(home) as pilot:
        await pilot.press("2")
        await until_painted(pilot, "base not on this machine", "└ other")
        screen = pilot.app.screen
        assert isinstance(screen, CatalogScreen)
        await choose(pilot, "other")
        assert "not on this machine" in screen.why_not("chat") and "not on this machine" in screen.why_not("merge")
        await choose(pilot, "finetui-mini")
        assert "select an adapter" in screen.why_not("merge") and screen.why_not("chat") == ""


async def test_push_shows_card_and_files_and_is_private(home: Path) -> None:
    async with opened(home, (120, 44), default_hub="folder") as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        await pilot.press("p")
        await until_painted(pilot, "Push tone", "repository", "private", "adapter_model.safetensors", "adapter_config.json", "README.md")
        assert "library_name" in pilot.app.screen.text_to_copy()  # type: ignore[attr-defined]


async def test_push_to_a_folder_and_pull_back(home: Path) -> None:
    async with opened(home, (120, 44), default_hub="folder") as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        await pilot.press("p")
        await until_painted(pilot, "Push tone", "adapter_model.safetensors")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "push-tone", "✔ succeeded", seconds=60)
        await pilot.press("escape", "f")
        await until_painted(pilot, "Pull an adapter")
        await pilot.press("enter")
        await type_text(pilot, "tone")
        await pilot.press("enter")
        pilot.app.screen.form.set("name", "tone-back")  # type: ignore[attr-defined]
        await pilot.press("ctrl+s")
        await until_painted(pilot, "pull-tone-back", "✔ succeeded", seconds=60)
        assert (home / "adapters" / "tone-back" / "adapter_model.safetensors").exists()


async def test_merge_dialog_says_where_it_goes(home: Path) -> None:
    async with opened(home) as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        await pilot.press("m")
        await until_painted(pilot, "Merge tone", "tone-merged", "verify", str(home / "models")[:20])


async def test_tags_are_changed_and_filtered_by(home: Path) -> None:
    async with opened(home) as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        await pilot.press("t")
        await until_painted(pilot, "Tags of tone")
        pilot.app.screen.form.set("tags", ["good", "two words"])  # type: ignore[attr-defined]
        await pilot.press("ctrl+s")
        await until_painted(pilot, "'two words' cannot be a tag")
        pilot.app.screen.form.set("tags", ["good"])  # type: ignore[attr-defined]
        await pilot.press("ctrl+s")
        await until(pilot, lambda: Catalog(Home(home)).adapter("tone").tags == ["good"])
        await until_painted(pilot, "tags        good")
        await pilot.press("slash")
        await type_text(pilot, "#goo")
        await until_painted(pilot, "nothing matches the filter")
        await type_text(pilot, "d")
        await until_painted(pilot, "└ tone")


@pytest.mark.parametrize("size", SIZES)
async def test_two_adapters_are_compared(home: Path, tmp_path: Path, size: tuple[int, int]) -> None:
    Catalog(Home(home)).import_adapter(make_lora(tmp_path / "elsewhere" / "voice", rank=8))
    async with opened(home, size) as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        assert "mark one adapter" in pilot.app.screen.why_not("diff")  # type: ignore[attr-defined]
        await pilot.press("space")
        await until_painted(pilot, "✓ tone")
        await choose(pilot, "voice")
        await pilot.press("v")
        text = await until_painted(pilot, "Where they differ", "rank", "size_bytes")
        assert next(line for line in text.splitlines() if "rank" in line).split()[-3:-1] == ["4", "8"]
        assert "rank\t4\t8" in pilot.app.screen.text_to_copy()  # type: ignore[attr-defined]


async def test_sorted_by_size(home: Path, tmp_path: Path) -> None:
    Catalog(Home(home)).import_adapter(make_lora(tmp_path / "elsewhere" / "voice", rank=8))
    async with opened(home) as pilot:
        await pilot.press("2")
        text = await until_painted(pilot, "└ tone", "└ voice")
        assert text.index("└ tone") < text.index("└ voice")
        await pilot.press("s", "s")
        text = await until_painted(pilot, "2 adapters, by size")
        assert text.index("└ voice") < text.index("└ tone")


@pytest.mark.parametrize("ascii", [False, True])
async def test_the_card_is_read_below_the_details(home: Path, ascii: bool) -> None:
    card = "---\nlicense: mit\n---\n# A *tone*\n\n- **polite**\n\n| metric | value |\n| --- | --- |\n| loss | 1.5 |\n"
    (home / "adapters" / "tone" / "README.md").write_text(card)
    async with opened(home, ascii=ascii) as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        text = await until_painted(
            pilot, "model card", "license       mit", "- polite" if ascii else "· polite", "metric  value", "loss    1.5"
        )
        assert "---" not in text.split("model card")[1] and "**" not in text


async def test_a_hub_is_searched_and_what_is_found_shows_its_card_before_it_is_pulled(home: Path) -> None:
    async with opened(home, (120, 44), default_hub="folder") as pilot:
        await pilot.press("2")
        await choose(pilot, "tone")
        await pilot.press("h")
        await until_painted(pilot, "Search a hub", "Nothing is sent before")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "no adapter found on folder")
        await pilot.press("escape", "p")
        await until_painted(pilot, "Push tone", "adapter_model.safetensors")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "push-tone", "✔ succeeded", seconds=60)
        await pilot.press("escape", "h")
        await until_painted(pilot, "Search a hub")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "1 adapter on folder", "local/tone", "finetui-mini")
        await pilot.press("enter")
        await until_painted(pilot, "Pull an adapter", "local/tone", "How to load it")
        pilot.app.screen.form.set("name", "found")  # type: ignore[attr-defined]
        await pilot.press("ctrl+s")
        await until_painted(pilot, "pull-found", "✔ succeeded", seconds=60)
        assert (home / "adapters" / "found" / "adapter_model.safetensors").exists()


@pytest.mark.parametrize("size", SIZES)
async def test_a_search_without_a_network_says_so_where_it_was_asked(home: Path, size: tuple[int, int]) -> None:
    async with opened(home, size) as pilot:
        await pilot.press("2")
        await until_painted(pilot, "└ tone")
        await pilot.press("h")
        await until_painted(pilot, "Nothing is sent before")
        await pilot.press("ctrl+s")
        await until_painted(pilot, "the search: the network is switched off", "unset HF_HUB_OFFLINE")
