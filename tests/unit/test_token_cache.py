"""The cache of tokenised data: what was written is read, what decides the tokens decides the key, damage is made good."""

from __future__ import annotations

import json
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from finetui.core.config import Settings
from finetui.core.data.shaping import examples
from finetui.core.errors import DataError
from finetui.core.registry import load
from finetui.core.worker.encoding import EncodingOptions, encode_examples
from finetui.core.worker.rendering import ChatRenderer
from finetui.core.worker.tokencache import DataSource, TokenCache, Tokenised, cache_key
from support import chats
from support.chats import chat_tokenizer
from support.rows import ALPACA, TEXT, write_rows

OPTIONS = EncodingOptions(40)
DEFAULTS = Settings()


@pytest.fixture
def alpaca(tmp_path: Path) -> str:
    return str(write_rows(tmp_path / "a.jsonl", [*ALPACA, {"instruction": "long " * 60, "output": "lost"}, *ALPACA]))


def get(folder: Path, *files: str, options: EncodingOptions = OPTIONS, settings: Settings = DEFAULTS, **more: Any) -> Tokenised:
    return TokenCache(folder, settings).tokenised(DataSource(files, {}), ChatRenderer(chat_tokenizer(chats.CHATML)), options, **more)


def entries(found: Tokenised) -> list[tuple[list[int], list[int]]]:
    read = (found.store.entry(number) for number in range(len(found.store)))
    return [(each.input_ids, each.labels) for each in read]


def test_entries_are_what_encoding_gives(tmp_path: Path, alpaca: str) -> None:
    expected = encode_examples(examples([alpaca]), ChatRenderer(chat_tokenizer(chats.CHATML)), load("objectives", "sft"), OPTIONS)
    first, again = get(tmp_path / "c", alpaca), get(tmp_path / "c", alpaca)
    assert (first.reused, again.reused) == (False, True)
    assert entries(first) == entries(again) == [(e.input_ids, e.labels) for e in expected]
    for found in (first.store, again.store):
        assert (found.facts.examples, found.facts.objective) == (7, "sft")
        assert found.examples.tolist() == [0, 1, 2, 4, 5, 6]
        assert len(found.truncated) == expected.truncated
        assert found.lengths.tolist() == [len(e.input_ids) for e in expected]


def test_running_text_and_classes(tmp_path: Path) -> None:
    text = str(write_rows(tmp_path / "t.jsonl", [{"text": "The quick brown fox. " * 30}, *TEXT]))
    store = get(tmp_path / "c", text).store
    assert store.examples.tolist()[:2] == [0, 0]
    assert all(store.entry(number).labels == store.entry(number).input_ids for number in range(len(store)))
    rows = [{"text": "a fox", "label": "x"}, {"text": "a dog", "label": "y"}]
    source = DataSource([str(write_rows(tmp_path / "l.jsonl", rows))], {}, task="seq-cls")
    made = ChatRenderer(chat_tokenizer(None))
    labelled = TokenCache(tmp_path / "c", Settings()).tokenised(source, made, EncodingOptions(40, labels=("y", "x"))).store
    assert [labelled.entry(number).label for number in range(2)] == [1, 0]
    assert set(labelled.entry(0).labels) == {-100}


def test_everything_that_decides_the_tokens_is_in_the_key(tmp_path: Path, alpaca: str) -> None:
    made = ChatRenderer(chat_tokenizer(chats.CHATML))
    copy = tmp_path / "copy.jsonl"
    copy.write_bytes(Path(alpaca).read_bytes())
    source = DataSource([alpaca], {})
    key = cache_key(source, made, OPTIONS)
    assert key == cache_key(DataSource([str(copy)], {}), made, OPTIONS)
    copy.write_text(copy.read_text().replace("Blue.", "Navy."))
    others = [
        cache_key(DataSource([str(copy)], {}), made, OPTIONS),
        cache_key(DataSource([alpaca, alpaca], {}), made, OPTIONS),
        cache_key(DataSource([alpaca], {"prompt": "output", "response": "instruction"}), made, OPTIONS),
        cache_key(DataSource([alpaca], {}, "text"), made, OPTIONS),
        cache_key(source, made, EncodingOptions(41)),
        cache_key(source, made, EncodingOptions(40, "last")),
        cache_key(source, made, EncodingOptions(40, system_prompt="Be odd.")),
        cache_key(source, ChatRenderer(chat_tokenizer(chats.HEADERS)), OPTIONS),
        cache_key(source, ChatRenderer(chat_tokenizer(chats.CHATML, kind="sentences")), OPTIONS),
    ]
    assert len({key, *others}) == 1 + len(others)


def test_a_template_that_writes_the_date_is_rendered_anew_every_day(alpaca: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from finetui.core.worker import tokencache

    class Tomorrow(tokencache.datetime.date):
        @classmethod
        def today(cls) -> Tomorrow:
            return cls(2031, 1, 1)

    dated, plain = (ChatRenderer(chat_tokenizer(text + chats.CHATML)) for text in ("{{ strftime_now('%d %b') }}", ""))
    keys = [cache_key(DataSource([alpaca], {}), made, OPTIONS) for made in (dated, plain)]
    monkeypatch.setattr(tokencache.datetime, "date", Tomorrow)
    later = [cache_key(DataSource([alpaca], {}), made, OPTIONS) for made in (dated, plain)]
    assert keys[0] != later[0]
    assert keys[1] == later[1]


@pytest.mark.parametrize("harm", ["flip", "cut", "remove", "facts", "half"])
def test_a_damaged_store_is_made_again(tmp_path: Path, alpaca: str, harm: str) -> None:
    whole = entries(get(tmp_path / "c", alpaca))
    (folder,) = (path for path in (tmp_path / "c").iterdir() if path.is_dir())
    tokens = folder / "tokens.bin"
    if harm == "flip":
        data = bytearray(tokens.read_bytes())
        data[8] ^= 1
        tokens.write_bytes(data)
    elif harm == "cut":
        tokens.write_bytes(tokens.read_bytes()[:-4])
    elif harm == "remove":
        tokens.unlink()
    elif harm == "facts":
        (folder / "store.json").write_text("{")
    else:
        (folder / "store.json").unlink()
    again = get(tmp_path / "c", alpaca)
    assert not again.reused
    assert again.damaged == (harm != "half")
    assert entries(again) == whole
    assert get(tmp_path / "c", alpaca).reused


def test_errors_name_the_line_and_leave_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"prompt": "q", "response": "a"}\n' * 300 + "torn\n")
    with pytest.raises(DataError, match=r"a\.jsonl:301"):
        get(tmp_path / "c", str(path))
    assert [each for each in (tmp_path / "c").iterdir() if each.is_dir()] == []


def test_a_file_that_changes_while_it_is_read_is_refused(tmp_path: Path) -> None:
    path = write_rows(tmp_path / "a.jsonl", ALPACA * 100)

    def append(_rows: int) -> None:
        with path.open("a") as file:
            file.write(json.dumps(ALPACA[0]) + "\n")

    with pytest.raises(DataError, match="changed while it was read"):
        get(tmp_path / "c", str(path), on_rows=append)


def test_two_runs_at_once_tokenise_once(tmp_path: Path, alpaca: str) -> None:
    found: list[Tokenised] = []
    threads = [threading.Thread(target=lambda: found.append(get(tmp_path / "c", alpaca))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.reused for each in found) == [False, True, True]


def test_what_is_old_or_too_much_goes(tmp_path: Path, alpaca: str) -> None:
    cache = tmp_path / "c"

    def stores() -> list[Path]:
        return sorted((path for path in cache.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime)

    first = get(cache, alpaca)
    (old,) = stores()
    get(cache, alpaca, options=EncodingOptions(50))
    assert len(stores()) == 2
    os.utime(old, (time.time() - 86_400 * 31,) * 2)
    (cache / ".half-written").mkdir()
    get(cache, alpaca, options=EncodingOptions(60))
    assert old not in stores()
    assert len(stores()) == 3  # the half-written one may belong to a run
    assert first.store.entry(0).input_ids  # whoever had it open goes on reading
    os.utime(cache / ".half-written", (time.time() - 86_400 * 2,) * 2)
    get(cache, alpaca, options=EncodingOptions(70), settings=Settings(data_cache_gb=0.0))
    assert len(stores()) == 1
