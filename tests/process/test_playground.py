"""The playground: names to answers, as ``generate``, ``chat`` and the chat screen use it."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import msgspec
import pytest
from finetui.core.catalog.catalog import Catalog
from finetui.core.catalog.digest import digest_folder
from finetui.core.catalog.manifest import BaseRef, Manifest, write_manifest
from finetui.core.errors import Incompatible, NotFound, WorkFailed
from finetui.core.inference import Answer, Playground
from finetui.core.paths import find_home
from peft import PromptTuningConfig
from support.adapters import make_adapter, make_full
from support.models import tiny_model


def test_names_resolve_swap_and_stream(tmp_path: Path) -> None:
    home = find_home().create()
    base = tiny_model(tmp_path / "tiny", "qwen2", chat_template=True)
    folder = make_adapter(tmp_path / "pirate.v1", base, seed=1)
    twin = make_adapter(tmp_path / "elsewhere" / "pirate.v1", base, seed=2)
    full = make_full(home.models / "whole", base)
    write_manifest(full, Manifest(kind="model", method="full", base=BaseRef(name="tiny", digest=digest_folder(base))))
    catalog = Catalog(home)
    catalog.add_model(base, "tiny")
    imported = catalog.import_adapter(folder, "pirate.v1", "tiny")

    with Playground(home, "tiny", ["pirate.v1"], gpus="none") as playground:
        assert playground.status["device"] == "cpu"
        assert [(one.name, one.path, one.kind) for one in playground.adapters] == [("pirate.v1", imported.path, "lora")]
        assert playground.adapters[0].seconds > 0
        of_base = playground.generate("Hello", max_new_tokens=8)
        assert (of_base.adapter, of_base.name, of_base.tokens) == (None, "tiny", 8)
        *pieces, last = playground.stream("Hello", adapter="pirate.v1", max_new_tokens=8)
        assert isinstance(last, Answer)
        assert "".join(map(str, pieces)) == last.text != of_base.text
        assert last.adapter == imported.path
        row = msgspec.to_builtins(last)
        assert row.keys() >= {"adapter", "text", "tokens", "seconds", "first_token_seconds", "swap_seconds"}

        assert playground.add("pirate.v1").name == "pirate.v1"  # again: nothing happens
        other = playground.add(str(twin))  # another folder of the same name
        assert other.name != "pirate.v1"
        assert playground.generate("Hello", adapter=other.name, max_new_tokens=8).text != last.text
        assert playground.add("whole").kind == "full"
        talk = [{"role": "user", "content": "Hello"}]
        assert playground.generate(messages=talk, adapter="pirate.v1", max_new_tokens=8).text == last.text

        catalog.remove_adapter("pirate.v1")  # and trained anew under the same name, the playground still open
        assert playground.generate("Hello", adapter="pirate.v1", max_new_tokens=8).text == last.text, "its files are gone, it is not"
        catalog.import_adapter(twin, "pirate.v1", "tiny")
        anew = playground.generate("Hello", adapter="pirate.v1", max_new_tokens=8)
        assert anew.text == playground.generate("Hello", adapter=other.name, max_new_tokens=8).text != last.text

        playground.remove("pirate.v1")
        with pytest.raises(NotFound):
            playground.generate("Hello", adapter="pirate.v1")
        assert playground.generate("Hello", max_new_tokens=8).text == of_base.text


def test_a_blend_answers_and_a_dead_worker_can_be_replaced(tmp_path: Path) -> None:
    home = find_home().create()
    base = tiny_model(tmp_path / "tiny", "qwen2", chat_template=True)
    folders = [make_adapter(tmp_path / name, base, seed=seed) for seed, name in enumerate("ab")]
    prompt = make_adapter(tmp_path / "prompt", base, config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    with Playground(home, str(base), [*map(str, folders), str(prompt)], gpus="none") as playground:
        assert [bool(one.no_blend) for one in playground.adapters] == [False, False, True]
        a, b, virtual = (one.name for one in playground.adapters)

        def says(who: str | dict[str, float] | None) -> str:
            return playground.generate("Hello", adapter=who, max_new_tokens=8).text

        apart = {who: says(who) for who in (None, a, b)}
        blended = playground.generate("Hello", adapter={a: 0.5, b: 0.5}, max_new_tokens=8)
        assert (blended.adapter, blended.name) == (None, f"{a}=0.5 {b}=0.5")
        assert blended.blend == {str(folders[0]): 0.5, str(folders[1]): 0.5}
        assert blended.text not in apart.values()
        assert [says({a: 1.0}), says({a: 0.0, b: 1.0}), says({a: 0.0})] == [apart[a], apart[b], apart[None]]
        assert 0 < playground.swap({a: 0.5, b: 0.5}) < 0.5
        with pytest.raises(Incompatible, match="virtual tokens"):
            playground.swap({a: 0.5, virtual: 0.5})

        os.kill(playground.session.pid, signal.SIGKILL)
        with pytest.raises(WorkFailed, match="SIGKILL"):
            says(a)
        playground.restart()
        assert [one.name for one in playground.adapters] == [a, b, virtual]
        assert says({a: 0.5, b: 0.5}) == blended.text
        assert says(None) == apart[None]


def test_what_does_not_belong_together_is_refused_before_a_worker_starts(tmp_path: Path) -> None:
    home = find_home().create()
    base, other = tiny_model(tmp_path / "base", "qwen2"), tiny_model(tmp_path / "other", "gpt2")
    foreign = make_adapter(tmp_path / "foreign", other)
    with pytest.raises(Incompatible):
        Playground(home, str(base), [str(foreign)], gpus="none")
    with pytest.raises(NotFound):
        Playground(home, str(base), ["no-such-adapter"], gpus="none")
    with pytest.raises(NotFound):
        Playground(home, "no-such-model", gpus="none")
