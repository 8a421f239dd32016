"""A method at work without a run: its hooks called as the training loop calls them, on a few token ids."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from finetui.core.api import Course, Method
from finetui.core.worker.loading import load_base
from finetui.core.worker.peft_support import merge
from finetui.core.worker.slots import load_complete, load_slot

IDS = torch.arange(5, 37)[None]
LABELS = ["business", "health", "science", "sports"]


def base_for(folder: Path, task: str) -> Any:
    """The base loaded for a task, with four classes and the same head every time for ``seq-cls``."""
    return load_base(folder, task=task, **({"labels": LABELS, "head_seed": 0} if task == "seq-cls" else {}))


def logits(model: Any) -> torch.Tensor:
    """What a model says in evaluation mode."""
    with torch.no_grad():
        return model.eval()(input_ids=IDS).logits


def drive(plugin: Method, model: Any, options: Any, steps: int, rate: float = 1e-3) -> list[torch.nn.Parameter]:
    """Train a prepared model for a few steps; returns what trained."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(plugin.parameter_groups(model, options, rate, 0.0), lr=rate)
    plugin.begin(model, options, Course(steps, steps, False))
    for step in range(steps):
        plugin.before_step(model, options, step, steps)
        found = model.train()(input_ids=IDS).logits
        loss = found.reshape(-1, found.shape[-1]).float().log_softmax(-1)[:, 1].mean().neg()
        extra = plugin.extra_loss(model, options)
        (loss if extra is None else loss + extra).backward()
        optimizer.step()
        plugin.after_step(model, options, step, steps)
        optimizer.zero_grad()
    return trained


def saved(plugin: Method, model: Any, folder: Path) -> Path:
    """What the method writes of the model."""
    folder.mkdir(parents=True)
    plugin.save(model, folder)
    return folder


def require_swaps(folder: Path, task: str, adapter: Path, expected: torch.Tensor, tolerance: float = 0.0) -> None:
    """Resident beside a base, the adapter says what it said when it was trained, and leaves no bit of the base changed.

    Args:
        tolerance: how far it may be from what it said, relative to the largest logit; by default not by a bit.
    """
    base = base_for(folder, task)
    before, weights = logits(base), {name: tensor.clone() for name, tensor in base.state_dict().items()}
    slot = load_slot(base, adapter)
    slot.switch_on()
    assert (logits(base) - expected).abs().max() <= tolerance * expected.abs().max()
    slot.switch_off()
    assert torch.equal(logits(base), before)
    assert all(torch.equal(tensor, weights[name]) for name, tensor in base.state_dict().items())


def require_merges(folder: Path, task: str, adapter: Path, expected: torch.Tensor) -> None:
    """Folded into the base's weights it says the same, but for rounding."""
    merged = merge(load_complete(base_for(folder, task), adapter))
    assert not any("lora" in name or "modules_to_save" in name for name, _ in merged.named_parameters())
    assert (logits(merged) - expected).abs().max() <= 1e-5 * expected.abs().max()
