"""The planner's two grades beside what is measured: instant formula, dry run, bytes that torch's allocator gives out, anonymous memory.

    python bench/planner.py [--hidden 256] [--layers 6]

One micro-batch of each case is trained for real in a process of its own. The last column is what the allocator and the C library
add to the tensors on a CPU.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

LENGTHS = (512, 400, 384, 256)

CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("qwen2", "full", "bf16", {}),
    ("qwen2", "lora", "bf16", {}),
    ("qwen2", "lora", "bf16", {"gradient_checkpointing": True}),
    ("qwen2", "qlora", "bf16", {"gradient_accumulation_steps": 2}),
    ("qwen2", "bitfit", "fp32", {}),
    ("llama", "full", "bf16", {"master_copy": "fp32"}),
    ("llama", "adapter", "bf16", {}),
    ("llama", "top_layers", "fp32", {}),
    ("llama", "prefix_tuning", "bf16", {}),
    ("llama", "lora", "bf16", {"packing": False}),
    ("falcon", "lora", "bf16", {}),
    ("falcon", "qlora", "bf16", {}),
    ("gpt2", "lora", "bf16", {}),
    ("gpt2", "top_layers", "bf16", {}),
    ("bert", "full", "bf16", {}),
    ("bert", "lora", "fp32", {}),
    ("bert", "adapter", "bf16", {}),
]


def measure(number: int, hidden: int, layers: int) -> dict[str, float]:
    """One case, in this process."""
    sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
    import torch
    import transformers
    from finetui.core import registry
    from finetui.core.planner.activations import keeps_documents_apart
    from finetui.core.planner.memory import estimate
    from finetui.core.planner.reading import read_model
    from finetui.core.planner.tasks import for_task
    from finetui.core.planner.workload import Workload, padded_groups
    from finetui.core.training import TrainingOptions
    from finetui.core.worker.dryrun import dry_run, placeholder
    from finetui.core.worker.precision import Precision
    from finetui.core.worker.probe import probe
    from support.models import tiny_config, tiny_tokenizer

    family, method, name, training = CASES[number]
    task: Any = "seq-cls" if family == "bert" else "causal-lm"
    with tempfile.TemporaryDirectory() as scratch:
        automatic = transformers.AutoModelForMaskedLM if family == "bert" else transformers.AutoModelForCausalLM
        automatic.from_config(tiny_config(family, 8000, 2, hidden=hidden, layers=layers)).to(torch.bfloat16).save_pretrained(scratch)
        tiny_tokenizer().save_pretrained(scratch)
        spec, plugin, options = for_task(read_model(Path(scratch)), task), registry.load("methods", method), TrainingOptions(**training)
        packed = options.packing and plugin.packs and keeps_documents_apart(spec)
        groups = [list(range(len(LENGTHS)))] if packed else padded_groups(LENGTHS)
        group = max(groups, key=lambda group: len(group) * LENGTHS[group[0]])
        tokens = sum(LENGTHS) if packed else len(group) * LENGTHS[group[0]]
        loss = 0 if task == "seq-cls" else sum(LENGTHS[place] // 2 for place in group)
        squares = sum(length * length for length in LENGTHS) // sum(LENGTHS) if packed else LENGTHS[group[0]]
        load = Workload(tokens, loss, LENGTHS[group[0]], squares, len(LENGTHS), packed, len(groups), len(group))
        load = replace(load, gaps=not packed and len(group) > 1)
        parts = estimate(
            spec, plugin.footprint(spec, plugin.options()), options, load, precision=name, master_copy=options.master_copy, on_cpu=True
        )
        case = (spec, plugin, plugin.options(), options, [placeholder(length, length // 2, task) for length in LENGTHS])
        device = torch.device("cpu")
        where: dict[str, Any] = {"device": device, "precision": Precision(torch.bfloat16 if name == "bf16" else torch.float32, "cpu")}
        dry = dry_run(*case, **where)
        real = probe(*case, **where, labels=["a", "b"])
    return {
        "formula": sum(parts.values()) - parts["overhead"], "dry": dry.total_bytes, "seconds": dry.seconds, "live": real.live_bytes,
        "anonymous": real.peak_memory_bytes,
    }  # fmt: skip


def main() -> None:
    """Measure every case and print the table (Markdown); with ``--case``, be one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--case", type=int)
    arguments = parser.parse_args()
    if arguments.case is not None:
        print(json.dumps(measure(arguments.case, arguments.hidden, arguments.layers)))
        return
    print("| model | method | precision | settings | formula MB | dry run MB | live MB | formula / live | dry / live | anonymous / live |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for number, (family, method, precision, training) in enumerate(CASES):
        command = [sys.executable, __file__, "--case", str(number), "--hidden", str(arguments.hidden), "--layers", str(arguments.layers)]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise SystemExit(f"{family} {method} failed:\n{done.stderr[-3000:]}")
        row = json.loads(done.stdout.splitlines()[-1])
        settings = ", ".join(f"{key}={str(value).lower()}" for key, value in training.items())
        sizes = " | ".join(f"{row[key] / 1e6:.0f}" for key in ("formula", "dry", "live"))
        ratios = " | ".join(f"{row[key] / row['live']:.2f}" for key in ("formula", "dry", "anonymous"))
        print(f"| {family} | {method} | {precision} | {settings} | {sizes} | {ratios} |", flush=True)


if __name__ == "__main__":
    main()
