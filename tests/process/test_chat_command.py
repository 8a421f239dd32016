"""``finetui chat`` as a script types into it: swap, blend, compare, and errors that do not end the conversation."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from finetui.core.blends import blend_text, parse_blend
from finetui.core.errors import UsageError
from peft import PromptTuningConfig
from support.adapters import make_adapter
from support.cli import finetui, refused
from support.models import tiny_model


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat")
    base = tiny_model(folder / "base", "qwen2", chat_template=True)
    for seed, name in enumerate(("tone", "pirate"), 1):
        make_adapter(folder / name, base, seed=seed)
    make_adapter(folder / "prompt", base, config=PromptTuningConfig(task_type="CAUSAL_LM", num_virtual_tokens=4))
    return base


def compared(out: str) -> dict[str, str]:
    """What `/compare` printed: who → answer."""
    return dict(re.findall(r"^(?:/\S*/)?(\S.*) \([\d.]+ ms\): (.*)$", out, re.M))


def test_swap_blend_base_and_compare(base: Path) -> None:
    tone, pirate = base.parent / "tone", base.parent / "pirate"
    lines = [
        "/compare Hello", f"/swap {pirate}", f"/blend {tone}=1", "Hello", "/compare", "/blend tone=0.5 pirate=0.5", "/compare Hello",
        "/blend tone=0.5,pirate=-0.5", "/compare Hello", "/adapters", "/base", "Hello", "/quit", "never read",
    ]  # fmt: skip
    done = finetui("chat", "--model", base, "--adapter", tone, "--gpus", "none", "--max-new-tokens", 6, typed="\n".join(lines))
    assert done.code == 0, done.err
    first, second, third, fourth = (compared(part) for part in re.split(r"(?=^base \()", done.out, flags=re.M)[1:])
    assert list(first) == ["base", "tone"]
    assert list(second) == ["base", "tone", "pirate", "tone=1"]
    assert second["tone=1"] == second["tone"] == first["tone"], "one adapter with weight 1 is that adapter"
    half, minus = list(third)[-1], list(fourth)[-1]
    assert half.endswith("pirate=0.5") and minus.endswith("pirate=-0.5")
    assert third[half] not in {third["base"], third["tone"], third["pirate"]}
    assert fourth[minus] != third[half], "weights change while it is on"
    assert {third[who] for who in ("base", "tone", "pirate")} == {second[who] for who in ("base", "tone", "pirate")}
    assert re.search(r"pirate: swap \d+\.\d{3} ms", done.err)
    assert re.search(r"tone +lora .*ms", done.out)
    assert "never read" not in done.out


def test_errors_do_not_end_the_conversation(base: Path) -> None:
    prompt = base.parent / "prompt"
    lines = ["/blend", "/blend tone=x", f"/blend tone=0.5 {prompt}=0.5", "/swap", "/blen", "/compare", "Hello"]
    done = finetui(
        "chat", "--model", base, "--adapter", base.parent / "tone", "--gpus", "none", "--max-new-tokens", 6, typed="\n".join(lines)
    )
    assert done.code == 0
    assert done.err.count("error: ") == 6
    for words in (
        "needs adapters",
        "not a finite number",
        "virtual tokens stand",
        "/swap needs a name",
        "'/blend'",
        "needs a prompt",
    ):
        assert words in done.err
    assert "6 tokens" in done.err, "the adapter that was on before still answers"
    refused("generate", "--model", base, "--prompt", "x", "--temperature", "-1", code=2, says="temperature")


def test_a_dead_worker_is_told_and_restarted_with_the_conversation_kept(base: Path) -> None:
    chat = subprocess.Popen(
        [sys.executable, "-m", "finetui", "chat", "--model", str(base), "--gpus", "none", "--max-new-tokens", "6"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, bufsize=1,
    )  # fmt: skip
    assert chat.stdin is not None and chat.stdout is not None

    def until(words: str) -> None:
        for line in chat.stdout or ():
            if words in line:
                return
        raise AssertionError(f"the chat ended without saying {words!r}")

    chat.stdin.write("Hello\n")
    until("6 tokens")
    (worker,) = (child for child in psutil.Process(chat.pid).children() if "finetui.core.worker.session" in child.cmdline())
    os.kill(worker.pid, signal.SIGKILL)
    chat.stdin.write("Are you there?\n")
    until("SIGKILL")
    until("/restart loads the model again")
    chat.stdin.write("/restart\n/compare\nBye\n/quit\n")
    until("base (")  # the last prompt that was answered is known still
    until("6 tokens")
    assert chat.wait(30) == 0


def test_blends_in_words() -> None:
    assert parse_blend("a=0.7 b=0.3") == {"a": 0.7, "b": 0.3}
    assert parse_blend(" a=.5,b=-1e-1 , c ") == {"a": 0.5, "b": -0.1, "c": 1.0}
    assert parse_blend("org/odd=name=2") == {"org/odd=name": 2.0}
    weights = {"a.b": 0.25, "c": -1.5}
    assert parse_blend(blend_text(weights)) == weights
    for wrong in ("", " , ", "=1", "a=", "a=1 a=2", "a=nan", "a=inf", "a=0.5x"):
        with pytest.raises(UsageError):
            parse_blend(wrong)
