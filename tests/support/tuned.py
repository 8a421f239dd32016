"""Bases with the methods of FineTUI's own tuner on them, random but far from doing nothing, and what a new process makes of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from finetui.core import registry
from finetui.core.api import Task
from finetui.core.options import parse
from finetui.core.planner.reading import read_model
from finetui.core.planner.tasks import for_task
from finetui.core.worker.loading import load_base
from finetui.core.worker.publish import name_base

METHODS = ("adapter", "lora_adapter", "mam", "p_tuning", "p_tuning_v2", "prefix_tuning", "prompt_tuning", "unipelt")
LABELS = 4


def task_of(family: str) -> Task:
    """The task that a tiny model of ``family`` is tried on first."""
    return "seq-cls" if family == "bert" else "causal-lm"


def prepared(folder: Path, name: str, task: Task, *, noise: float = 0.0, **options: Any) -> tuple[Any, int]:
    """A base with a method on it, as training makes it, and the number of trainable parameters that was planned.

    Args:
        noise: standard deviation of what is added to every trainable parameter; above 0 the model is in evaluation mode.
    """
    method = registry.load("methods", name)
    chosen = parse(method.options, options)
    spec = for_task(read_model(folder), task, LABELS)
    assert method.refusal(spec, task, chosen) == ""
    base = load_base(folder, task=task, load_arguments={"num_labels": LABELS} if task == "seq-cls" else None)
    base.config.pad_token_id = 1
    torch.manual_seed(0)
    model = method.prepare(base, chosen, task)
    if noise:
        disturb(model.eval(), noise)
    return model, method.footprint(spec, chosen).trainable_parameters


@torch.no_grad()
def disturb(model: Any, scale: float, seed: int = 1) -> None:
    """Add noise to every trainable parameter."""
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.requires_grad:
            parameter.add_(torch.randn(parameter.shape, generator=generator), alpha=scale)


@torch.enable_grad()
def trained(base: Path, folder: Path, name: str, task: Task, ids: torch.Tensor, **options: Any) -> torch.Tensor:
    """Train two steps, save into ``folder``, and return the logits of ``ids``."""
    model, _ = prepared(base, name, task, **options)
    model.train()
    optimizer = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], 0.3)
    for _ in range(2):
        optimizer.zero_grad()
        model(input_ids=ids).logits.logsumexp(-1).sum().backward()
        optimizer.step()
    model.eval()
    folder.mkdir()
    registry.load("methods", name).save(model, folder)
    name_base(folder, str(base))
    with torch.no_grad():
        return model(input_ids=ids).logits


_ELSEWHERE = """
import sys, torch
torch.set_num_threads(1)
import finetui.core.worker.tuners
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification
cases = torch.load(sys.argv[1])
results = []
for base, adapter, task, ids, labels in cases:
    automatic = AutoModelForCausalLM if task == "causal-lm" else AutoModelForSequenceClassification
    arguments = {} if task == "causal-lm" else {"num_labels": labels}
    wrapped = PeftModel.from_pretrained(automatic.from_pretrained(base, **arguments), adapter).eval()
    native = automatic.from_pretrained(adapter, **arguments).eval()
    with torch.no_grad():
        results.append((wrapped(input_ids=ids).logits, native(input_ids=ids).logits))
torch.save(results, sys.argv[2])
"""


def logits_elsewhere(cases: Sequence[tuple[Path, Path, str, torch.Tensor]], scratch: Path) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Logits of (base, adapter, task, ids) in a new process that imports the one module: loaded by PEFT, and by transformers alone."""
    torch.save([(str(base), str(adapter), task, ids, LABELS) for base, adapter, task, ids in cases], scratch / "cases")
    done = subprocess.run(
        [sys.executable, "-c", _ELSEWHERE, str(scratch / "cases"), str(scratch / "results")],
        capture_output=True, text=True, env={**os.environ, "HF_HUB_OFFLINE": "1"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return torch.load(scratch / "results")
