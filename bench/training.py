"""Training speed: our worker beside the tutorial way (Trainer + PEFT, padded to the longest allowed length, float32).

    python bench/training.py [--steps 6] [--threads 1]

Both train LoRA on the same rows with the same batch, each in a process of its own, one after the other and then again. Prints non-padding
tokens a second, peak memory, and ratios to the tutorial.
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
from typing import Any

from bases import heading, random_base

BATCH, MAX_LENGTH, ROUNDS = 8, 512, 2


def rows(count: int) -> list[dict[str, str]]:
    """Prompts and answers of 20 to 500 tokens, uniformly mixed."""
    words = "the model reads a sentence and answers with another one about weather music food and travel".split()
    chance = random.Random(0)
    return [
        {"prompt": " ".join(chance.choices(words, k=10)), "response": " ".join(chance.choices(words, k=chance.randint(8, 400)))}
        for _ in range(count)
    ]


def run_ours(base: Path, data: Path, steps: int) -> dict[str, float]:
    """A real run, in this process's place: the job's own figures."""
    from finetui.core.paths import Home
    from finetui.core.runs.job import Job
    from finetui.core.runs.requests import train_request
    from finetui.core.runs.store import RunStore
    from finetui.core.worker.train import main as train

    home = Home(base.parent / f"home-{os.getpid()}").create()
    settings = {"max_steps": steps, "per_device_train_batch_size": BATCH, "max_length": MAX_LENGTH, "max_grad_norm": 1.0}
    request = train_request(home, model=str(base), data=[data], method="lora", settings=settings, eval_split=0.0)
    job = Job(RunStore(home).create("train", "bench", request).dir)
    result = train(job)
    job.close()
    lines = [json.loads(line) for line in (job.dir / "metrics.jsonl").read_text().splitlines()][1:]  # the first step warms up
    seconds = sum(line["step_seconds"] for line in lines)
    tokens = lines[-1]["tokens"] - lines[0]["tokens"] + lines[0]["tokens_per_second"] * lines[0]["step_seconds"]
    return {"tokens_per_second": tokens / seconds, "peak_memory_bytes": result["peak_memory_bytes"]}


def run_tutorial(base: Path, data: Path, steps: int) -> dict[str, float]:
    """What tutorials show: tokenise with ``padding="max_length"``, ``Trainer``, ``get_peft_model``."""
    import time

    import torch
    from finetui.core.worker.memory import anonymous_bytes
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainerCallback, TrainingArguments

    started_at = anonymous_bytes()
    tokenizer = AutoTokenizer.from_pretrained(base)
    texts = [f"### Instruction:\n{r['prompt']}\n\n### Response:\n{r['response']}" for r in map(json.loads, data.read_text().splitlines())]
    encoded = [tokenizer(text, truncation=True, max_length=MAX_LENGTH, padding="max_length") for text in texts]
    examples = [{**row, "labels": [t if m else -100 for t, m in zip(row["input_ids"], row["attention_mask"])]} for row in encoded]
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    model = get_peft_model(model, LoraConfig(r=16, lora_alpha=32, target_modules="all-linear", task_type="CAUSAL_LM"))

    class Clock(TrainerCallback):
        """Wall time and memory after the first step."""

        began, peak = 0.0, 0

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            Clock.peak = max(Clock.peak, anonymous_bytes() - started_at)
            if state.global_step == 1:
                Clock.began = time.perf_counter()

    arguments = TrainingArguments(
        output_dir=str(base.parent / "tutorial"), max_steps=steps, per_device_train_batch_size=BATCH, learning_rate=2e-4, report_to=[],
        save_strategy="no", disable_tqdm=True, train_sampling_strategy="sequential", use_cpu=True,
    )  # fmt: skip
    Trainer(model=model, args=arguments, train_dataset=examples, callbacks=[Clock()]).train()
    seconds = time.perf_counter() - Clock.began
    tokens = sum(sum(row["attention_mask"]) for row in examples[BATCH : steps * BATCH])
    return {"tokens_per_second": tokens / seconds, "peak_memory_bytes": Clock.peak}


KINDS = {"tutorial": run_tutorial, "ours": run_ours}


def measure(kind: str, base: Path, data: Path, steps: int, threads: int) -> dict[str, float]:
    """One kind in a fresh interpreter."""
    command = [sys.executable, __file__, "--kind", kind, "--base", str(base), "--data", str(data), "--steps", str(steps)]
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    if done.returncode:
        raise SystemExit(f"{kind} failed:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Measure both kinds in turn and print the table; with ``--kind``, be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--kind", choices=KINDS)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--data", type=Path)
    arguments = parser.parse_args()
    if arguments.kind:
        print(json.dumps(KINDS[arguments.kind](arguments.base, arguments.data, arguments.steps)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        base = random_base(Path(scratch) / "base", hidden=512, layers=8, heads=8, intermediate=1408)
        data = Path(scratch) / "rows.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows(arguments.steps * BATCH)))
        found: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
        for _ in range(ROUNDS):
            for kind in KINDS:
                found[kind].append(measure(kind, base, data, arguments.steps, arguments.threads))
    middle = {kind: {key: statistics.median(run[key] for run in runs) for key in runs[0]} for kind, runs in found.items()}
    print(heading("LoRA, 33 M parameters, batch of 8", "tokens/s", "x tutorial", "peak MB"))
    for kind, row in middle.items():
        ratio = row["tokens_per_second"] / middle["tutorial"]["tokens_per_second"]
        print(f"{kind:<44}{row['tokens_per_second']:>14.0f}{ratio:>14.2f}{row['peak_memory_bytes'] / 1e6:>14.0f}")


if __name__ == "__main__":
    main()
