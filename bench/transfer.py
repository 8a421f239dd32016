"""Does what was learned from text help to classify? A small Qwen2 is pre-trained through the product and then fine-tuned.

    python bench/transfer.py --data FOLDER [--methods full,lora,adapter,top_layers] [--work FOLDER] [--threads 2]

FOLDER holds ``wiki_demo.txt`` and ``c4_demo.jsonl`` (running text), ``domains_train.jsonl`` and ``domains_test.jsonl`` (text, label). A
randomly initialised model with a tokenizer of its own learns the running text (``finetui train --method full --objective text``), then
each method learns the labels (``--task seq-cls``) from the same seed. Prints accuracy and macro-F1 on the test rows, beside a
bag-of-words model and full fine-tuning of the model before pre-training. ``--work`` keeps the models, so that a second call starts
where the first has ended. Exits 1 where a method misses the bar: 60 % accuracy, and more than the head alone.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bases import heading

BAR = 0.60
HEAD_ALONE = "top_layers"
VOCABULARY, HIDDEN, LAYERS, HEADS = 6000, 256, 4, 4
PRETRAINING = {
    "num_train_epochs": 2, "max_length": 256, "per_device_train_batch_size": 4, "learning_rate": 1e-3, "weight_decay": 0.05,
    "load_best_model_at_end": True,
}  # fmt: skip
FINE_TUNING = {"num_train_epochs": 3, "max_length": 96, "per_device_train_batch_size": 8}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 5e-4},
    "lora": {"learning_rate": 1e-3},
    "adapter": {"learning_rate": 1e-3},
    "top_layers": {"learning_rate": 3e-3, "num_layers": 0},
}
"""Method → settings of its own. ``top_layers`` with no layers trains the head alone."""


def new_base(folder: Path, texts: Sequence[Path]) -> Path:
    """A randomly initialised Qwen2 with a byte-level BPE tokenizer learned from ``texts``."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY, special_tokens=["<|endoftext|>", "<|pad|>"], initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator((line for path in texts for line in path.read_text().splitlines()), trainer)
    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=len(tokenizer.get_vocab()), hidden_size=HIDDEN, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        num_key_value_heads=HEADS // 2, intermediate_size=3 * HIDDEN, max_position_embeddings=512, tie_word_embeddings=True,
        bos_token_id=None, eos_token_id=0, pad_token_id=1,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="<|endoftext|>", pad_token="<|pad|>").save_pretrained(folder)
    return folder


def finetui(home: Path, threads: int, *arguments: object) -> Any:
    """A command's JSON, its last line where it streams."""
    environment = {**os.environ, "FINETUI_HOME": str(home), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-m", "finetui", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr}{done.stdout}")
    return json.loads(done.stdout.splitlines()[-1])


def settings(values: dict[str, Any]) -> list[str]:
    """``--set`` for every value."""
    return [word for key, value in values.items() for word in ("--set", f"{key}={json.dumps(value)}")]


def train(home: Path, threads: int, name: str, *arguments: object) -> dict[str, Any]:
    """Train unless a result of that name is there; returns the last line of ``train --follow``, with ``seconds``."""
    for kind in ("models", "adapters"):
        if (home / kind / name).is_dir():
            return {"adapter": str(home / kind / name), "seconds": 0.0}
    started = time.monotonic()
    row = finetui(home, threads, "train", "--name", name, "--gpus", "none", "--follow", *arguments)
    return {**row, "seconds": time.monotonic() - started}


def bag_of_words(train_rows: Sequence[dict[str, str]], test_rows: Sequence[dict[str, str]]) -> float:
    """Accuracy of multinomial naive Bayes (with add-one smoothing) over words, Chinese characters counting as words."""
    import math

    def words(text: str) -> list[str]:
        return re.findall(r"[a-z0-9']+|[^\x00-\x7f]|[^\sa-z0-9]", text.lower())

    counts: dict[str, Counter[str]] = {}
    for row in train_rows:
        counts.setdefault(row["label"], Counter()).update(words(row["text"]))
    vocabulary = {word for counter in counts.values() for word in counter}
    totals = {label: sum(counter.values()) + len(vocabulary) for label, counter in counts.items()}

    def score(label: str, text: str) -> float:
        return sum(math.log((counts[label][word] + 1) / totals[label]) for word in words(text) if word in vocabulary)

    right = sum(max(counts, key=lambda label: score(label, row["text"])) == row["label"] for row in test_rows)
    return right / len(test_rows)


def rows_of(path: Path) -> list[dict[str, str]]:
    """The rows of a JSON Lines file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def classify(home: Path, threads: int, base: Path, data: Path, methods: Sequence[str], suffix: str) -> dict[str, dict[str, Any]]:
    """Train each method on the labels and evaluate all of them on one loaded base; rows by method."""
    trained = {}
    for method in methods:
        trained[method] = train(
            home, threads, f"{method}-{suffix}", "--model", base, "--data", data / "domains_train.jsonl", "--task", "seq-cls",
            "--method", method, "--eval-split", 0.1, *settings({**FINE_TUNING, **METHODS[method]}),
        )  # fmt: skip
    adapters = [word for row in trained.values() for word in ("--adapter", row["adapter"])]
    test = ["--data", data / "domains_test.jsonl", "--set", f"max_length={FINE_TUNING['max_length']}", "--gpus", "none"]
    rows = finetui(home, threads, "eval", "--model", base, *adapters, *test)[1:]
    return {method: {**row, "train_seconds": trained[method]["seconds"]} for method, row in zip(methods, rows, strict=True)}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    methods = options.methods.split(",")
    with tempfile.TemporaryDirectory(prefix="transfer-") as scratch:
        work = options.work or Path(scratch)
        home, texts = work / "home", [options.data / "wiki_demo.txt", options.data / "c4_demo.jsonl"]
        fresh = work / "fresh"
        if not fresh.is_dir():
            new_base(fresh, [*texts, options.data / "domains_train.jsonl"])
        data = [word for path in texts for word in ("--data", path)]
        base = train(
            home, options.threads, "pretrained", "--model", fresh, *data, "--method", "full", "--objective", "text", "--eval-split", 0.05,
            *settings(PRETRAINING),
        )  # fmt: skip
        print(f"pre-training: {base['seconds']:.0f} s, evaluation {base.get('eval')}")
        (before,) = classify(home, options.threads, fresh, options.data, ["full"], "fresh").values()
        after = classify(home, options.threads, Path(base["adapter"]), options.data, methods, "pretrained")
    words = bag_of_words(rows_of(options.data / "domains_train.jsonl"), rows_of(options.data / "domains_test.jsonl"))
    print(heading("on domains_test", "accuracy", "macro-F1", "loss", "seconds"))
    for method, row in after.items():
        name = f"{method}, the head alone" if method == HEAD_ALONE else method
        print(f"{name:<44}{row['accuracy']:>14.1%}{row['f1']:>14.3f}{row['loss']:>14.3f}{row['train_seconds']:>14.0f}")
    print(f"{'full, without pre-training':<44}{before['accuracy']:>14.1%}{before['f1']:>14.3f}{before['loss']:>14.3f}")
    print(f"{'bag of words (naive Bayes)':<44}{words:>14.1%}")
    alone = after[HEAD_ALONE]["accuracy"] if HEAD_ALONE in after else 0.0
    missed = [name for name, row in after.items() if name != HEAD_ALONE and not max(BAR, alone) < row["accuracy"]]
    print(f"bar (above {BAR:.0%} and above the head alone): " + (f"missed by {', '.join(missed)}" if missed else "reached by all"))
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
