"""Does what was learned from text help to classify? A small Qwen2 is pre-trained through the product and then fine-tuned.

    python bench/transfer.py --data FOLDER [--methods full,lora,adapter,top_layers] [--seeds 3] [--work FOLDER] [--threads 2]

FOLDER holds ``wiki_demo.txt`` and ``c4_demo.jsonl`` (running text), ``domains_train.jsonl`` and ``domains_test.jsonl`` (text, label). A
randomly initialised model with a tokenizer of its own learns the running text (``finetui train --method full --objective text``). Each
method then learns the labels (``--task seq-cls``) with every seed, on the pre-trained model and on the one before pre-training. Prints mean
and standard deviation over the seeds of the accuracy on the test rows, beside a bag-of-words model. ``--work`` keeps the models, so that a
second call goes on where the first has ended. Exits 1 where a method misses the bar: 60 % accuracy, and above the head alone by more than
the deviations of both together.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any, NamedTuple

from bases import heading

BAR = 0.60
HEAD_ALONE = "top_layers"
VOCABULARY, HIDDEN, LAYERS, HEADS = 3000, 128, 3, 4
PRETRAINING = {
    "num_train_epochs": 8, "max_length": 128, "per_device_train_batch_size": 16, "per_device_eval_batch_size": 32, "learning_rate": 3e-3,
    "weight_decay": 0.1,
}  # fmt: skip
FINE_TUNING = {"num_train_epochs": 5, "max_length": 96, "per_device_train_batch_size": 16, "weight_decay": 0.05}
METHODS: dict[str, dict[str, Any]] = {
    "full": {"learning_rate": 5e-4},
    "lora": {"learning_rate": 2e-3, "r": 16},
    "adapter": {"learning_rate": 2e-3, "reduction_factor": 4},
    HEAD_ALONE: {"learning_rate": 1e-2, "num_layers": 0},
}
"""Method → settings of its own. ``top_layers`` with no layers trains the head alone."""


class Scores(NamedTuple):
    """What a method reached on the test rows, over the seeds.

    Attributes:
        accuracy: mean share of rows that were right.
        spread: its sample standard deviation.
        f1: mean macro-F1.
        loss: mean cross-entropy in nats.
        seconds: mean time that training took, 0 where the models were kept from an earlier call.
    """

    accuracy: float
    spread: float
    f1: float
    loss: float
    seconds: float


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


def classify(home: Path, threads: int, base: Path, data: Path, methods: Sequence[str], seeds: int, suffix: str) -> dict[str, Scores]:
    """Train each method on the labels with each seed and evaluate all results on one loaded base; scores by method."""
    labelled = ["--model", base, "--data", data / "domains_train.jsonl", "--task", "seq-cls"]
    trained = [
        train(
            home, threads, f"{method}-{suffix}-{seed}", *labelled, "--method", method, "--seed", seed, "--eval-split", 0.1,
            *settings({**FINE_TUNING, **METHODS[method]}),
        )
        for method in methods for seed in range(seeds)
    ]  # fmt: skip
    adapters = [word for row in trained for word in ("--adapter", row["adapter"])]
    test = ["--data", data / "domains_test.jsonl", "--set", f"max_length={FINE_TUNING['max_length']}", "--gpus", "none"]
    rows = finetui(home, threads, "eval", "--model", base, *adapters, *test)[1:]
    return {
        method: scores(rows[at * seeds : (at + 1) * seeds], trained[at * seeds : (at + 1) * seeds]) for at, method in enumerate(methods)
    }


def scores(rows: Sequence[dict[str, Any]], trained: Sequence[dict[str, Any]]) -> Scores:
    """The figures of one method's seeds."""
    accuracies = [row["accuracy"] for row in rows]
    return Scores(
        mean(accuracies), stdev(accuracies), mean(row["f1"] for row in rows), mean(row["loss"] for row in rows),
        mean(row["seconds"] for row in trained),
    )  # fmt: skip


def pretrain(home: Path, threads: int, fresh: Path, texts: Sequence[Path]) -> Path:
    """Teach ``fresh`` the running text; prints how well it knows held-out documents."""
    data = [word for path in texts for word in ("--data", path)]
    row = train(
        home, threads, "pretrained", "--model", fresh, *data, "--method", "full", "--objective", "text", "--eval-split", 0.05,
        *settings(PRETRAINING),
    )  # fmt: skip
    base = Path(row["adapter"])
    metrics = json.loads((base / "finetui.json").read_text())["metrics"]
    print(
        f"pre-training: {metrics['tokens']:,} tokens in {metrics['seconds']:.0f} s, {metrics['total_parameters']:,} parameters, "
        f"held-out perplexity {math.exp(metrics['eval_loss']):.1f}"
    )
    return base


def show(after: dict[str, Scores], before: dict[str, Scores], words: float) -> None:
    """The table, and what pre-training was good for."""
    print(heading("accuracy on domains_test", "pre-trained", "macro-F1", "loss", "seconds", "from random"))
    for method, row in after.items():
        name = f"{method}, the head alone" if method == HEAD_ALONE else method
        at_random = f"{before[method].accuracy:.1%} ± {before[method].spread:.1%}"
        print(
            f"{name:<44}{f'{row.accuracy:.1%} ± {row.spread:.1%}':>14}{row.f1:>14.3f}{row.loss:>14.3f}{row.seconds:>14.0f}{at_random:>16}"
        )
    print(f"{'bag of words (naive Bayes)':<44}{words:>14.1%}")
    for method, row in after.items():
        print(f"pre-training gives {method} {100 * (row.accuracy - before[method].accuracy):+.1f} points")


def missing_the_bar(after: dict[str, Scores]) -> list[str]:
    """The methods that are not above 60 %, or not above the head alone by more than both deviations together."""
    alone = after.get(HEAD_ALONE)
    floor = {name: max(BAR, alone.accuracy + alone.spread + row.spread) if alone else BAR for name, row in after.items()}
    return [name for name, row in after.items() if name != HEAD_ALONE and row.accuracy <= floor[name]]


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seeds", type=int, default=3, help="how many, at least 2")
    parser.add_argument("--work", type=Path, default=None)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    methods, threads, data = options.methods.split(","), options.threads, options.data
    with tempfile.TemporaryDirectory(prefix="transfer-") as scratch:
        work = options.work or Path(scratch)
        home, fresh, texts = work / "home", work / "fresh", [data / "wiki_demo.txt", data / "c4_demo.jsonl"]
        if not fresh.is_dir():
            new_base(fresh, [*texts, data / "domains_train.jsonl"])
        base = pretrain(home, threads, fresh, texts)
        after = classify(home, threads, base, data, methods, options.seeds, "pretrained")
        before = classify(home, threads, fresh, data, methods, options.seeds, "fresh")
    words = bag_of_words(rows_of(data / "domains_train.jsonl"), rows_of(data / "domains_test.jsonl"))
    show(after, before, words)
    missed = missing_the_bar(after)
    print(f"bar (above {BAR:.0%} and clear of the head alone): " + (f"missed by {', '.join(missed)}" if missed else "reached by all"))
    return bool(missed)


if __name__ == "__main__":
    raise SystemExit(main())
