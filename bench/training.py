"""Training speed: our worker beside the tutorial way (Trainer + PEFT) and TRL's SFTTrainer (packing, bf16).

    python bench/training.py [--steps 8] [--threads 1] [--rounds 2]

All train on the same rows with about the same tokens a step, each in a process of its own, one after the other and then again. Prints
non-padding tokens a second and peak memory, with ratios to the peers. On a busy machine read the figures by CPU second.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import peers
from bases import random_base
from peers import BATCH, MAX_LENGTH, WARM_UP, Figures


def rows(base: Path, count: int) -> list[dict[str, str]]:
    """Prompts and answers of 20 to 500 tokens together, uniformly mixed."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(base)
    words = "the model reads a sentence and answers with another one about weather music food and travel".split()
    chance = random.Random(0)
    found = []
    for _ in range(count):
        prompt, tokens = " ".join(chance.choices(words, k=3)), chance.randint(20, 500)
        answer = tokenizer(" ".join(chance.choices(words, k=600)))["input_ids"]
        frame = len(tokenizer(f"### Instruction:\n{prompt}\n\n### Response:\n")["input_ids"])
        found.append({"prompt": prompt, "response": tokenizer.decode(answer[: max(1, tokens - frame - 1)])})
    return found


def ours(base: Path, data: Path, steps: int, lora: bool, **settings: object) -> Figures:
    """A real run, in this process's place: the job's own figures."""
    import time

    from finetui.core.paths import Home
    from finetui.core.runs.job import Job
    from finetui.core.runs.requests import train_request
    from finetui.core.runs.store import RunStore
    from finetui.core.worker.loop import Loop
    from finetui.core.worker.train import main as train

    home = Home(base.parent / f"home-{os.getpid()}").create()
    options = {"max_steps": steps, "per_device_train_batch_size": BATCH, "max_length": MAX_LENGTH, "save_steps": steps, **settings}
    method = "lora" if lora else "full"
    request = train_request(home, model=str(base), data=[data], method=method, settings=options, eval_split=0.0)
    job = Job(RunStore(home).create("train", "bench", request).dir)
    spent: list[float] = []
    original = Loop.train_step

    def timed(loop: Loop) -> None:
        before = time.process_time()
        original(loop)
        spent.append(time.process_time() - before)

    Loop.train_step = timed
    result = train(job)
    job.close()
    lines = [json.loads(line) for line in (job.dir / "metrics.jsonl").read_text().splitlines()]
    tokens = lines[-1]["tokens"] - lines[WARM_UP - 1]["tokens"]
    return {
        "tokens_per_second": tokens / sum(line["step_seconds"] for line in lines[WARM_UP:]),
        "tokens_per_cpu_second": tokens / sum(spent[WARM_UP:]),
        "peak_memory_bytes": result["peak_memory_bytes"],
    }


KINDS = {
    "tutorial: Trainer, padded, float32": peers.tutorial,
    "TRL: packed, bf16": peers.trl,
    "FineTUI": ours,
    "FineTUI, gradient checkpointing": lambda *words: ours(*words, gradient_checkpointing=True),
}


def measure(kind: str, lora: bool, base: Path, data: Path, steps: int, threads: int) -> Figures:
    """One kind in a fresh interpreter."""
    command = [sys.executable, __file__, "--kind", kind, "--base", str(base), "--data", str(data), "--steps", str(steps)]
    # Waiting threads sleep: what the supervisor sets for our runs, and fair to the others on a shared machine.
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, *(["--lora"] if lora else [])], capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def compare(lora: bool, base: Path, data: Path, arguments: argparse.Namespace) -> None:
    """Measure every kind in turn and print one table."""
    found: dict[str, list[Figures]] = {kind: [] for kind in KINDS}
    for _ in range(arguments.rounds):
        for kind in KINDS:
            found[kind].append(measure(kind, lora, base, data, arguments.steps, arguments.threads))
    middle = {kind: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for kind, runs in found.items()}
    title = f"{'LoRA' if lora else 'full'}, 33 M parameters, batch of {BATCH}, {arguments.threads} thread"
    columns = ("tokens/s", "/CPU s", "x tutorial", "x TRL", "peak MB")
    print(f"{title:<40}" + "".join(f"{column:>12}" for column in columns))
    for kind, row in middle.items():
        speed = row["tokens_per_cpu_second"]
        ratios = [speed / other["tokens_per_cpu_second"] for other in list(middle.values())[:2]]
        print(
            f"{kind:<40}{row['tokens_per_second']:>12.0f}{speed:>12.0f}{ratios[0]:>12.2f}{ratios[1]:>12.2f}"
            f"{row['peak_memory_bytes'] / 1e6:>12.0f}",
            flush=True,
        )
    print()


def main() -> None:
    """Print the tables for LoRA and for full fine-tuning; with ``--kind``, be one of the rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=8)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--base", type=Path)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(KINDS[arguments.kind](arguments.base, arguments.data, arguments.steps, arguments.lora)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        base = random_base(Path(scratch) / "base", hidden=512, layers=8, heads=8, intermediate=1408)
        data = Path(scratch) / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows(base, 64)))
        for lora in (True, False):
            compare(lora, base, data, arguments)


if __name__ == "__main__":
    main()
