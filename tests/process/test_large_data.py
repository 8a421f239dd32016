"""Data larger than memory: tokenised in a stream, read from the cache; memory is the same whatever the size of the file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from support.chats import chat_tokenizer

SCRIPT = """
import json, sys
from pathlib import Path
import numpy, torch
from transformers import PreTrainedTokenizerFast
from finetui.core.api import Rendered
from finetui.core.config import Settings
from finetui.core.worker.batches import Schedule, collate
from finetui.core.worker.encoding import EncodingOptions
from finetui.core.worker.rendering import ChatRenderer
from finetui.core.worker.tokencache import DataSource, TokenCache

def anonymous():
    return int(next(line for line in open("/proc/self/status") if line.startswith("RssAnon")).split()[1]) * 1024

renderer = ChatRenderer(PreTrainedTokenizerFast.from_pretrained(sys.argv[1]))
renderer.encode([Rendered((("ready", True),))] * 256)
before = peak = anonymous()

def watch(rows):
    global peak
    peak = max(peak, anonymous())

store = TokenCache(Path(sys.argv[3]), Settings()).tokenised(DataSource([sys.argv[2]], {}), renderer, EncodingOptions(1024), watch).store
entries = store.entries(numpy.ones(store.facts.examples, bool))
schedule = Schedule(len(entries), 8, 1, 0)
for step in range(schedule.steps_per_epoch):
    if step % 5 == 0:
        (micro,) = schedule.step(step)
        collate([entries[number] for number in micro], packed=True, pad_id=0, device=torch.device("cpu"))
watch(0)
print(json.dumps({"grew": peak - before, "tokens": int(store.lengths.sum()), "rows": store.facts.examples}))
"""


@pytest.mark.parametrize("megabytes", [8, pytest.param(300, marks=[pytest.mark.matrix, pytest.mark.timeout(3600)])])
def test_memory_is_bounded(tmp_path: Path, megabytes: int) -> None:
    chat_tokenizer(None).save_pretrained(tmp_path / "tokenizer")
    path = tmp_path / "big.jsonl"
    sentence = "The quick brown fox jumps over the lazy dog. " * 40
    rows = megabytes * 1_000_000 // (len(sentence) + 20)
    with path.open("w") as file:
        for number in range(rows):
            file.write(json.dumps({"text": f"{number} {sentence}"}) + "\n")
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path / "tokenizer"), str(path), str(tmp_path / "cache")],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["rows"] == rows
    assert found["tokens"] > 100_000 * megabytes
    assert found["grew"] < 100_000_000, found
