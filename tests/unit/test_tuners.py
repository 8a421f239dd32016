"""FineTUI's own tuners: how many parameters train, where gradients go, and what padding and later tokens may not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core import registry
from finetui.core.api import Task
from finetui.core.options import parse
from finetui.core.planner.reading import read_model
from finetui.core.planner.tasks import for_task
from finetui.core.worker.loading import load_base
from support.models import ARCHITECTURES, tiny_model

METHODS = ("adapter", "lora_adapter", "mam", "p_tuning", "p_tuning_v2", "prefix_tuning", "prompt_tuning", "unipelt")

IDS = torch.tensor([[7, 100, 42, 9, 250, 33, 8, 77], [12, 300, 5, 9, 41, 1, 1, 1]])
MASK = torch.tensor([[1] * 8, [1] * 5 + [0] * 3])


def prepared(folder: Path, name: str, task: Task, **options: Any) -> tuple[Any, int]:
    """A base with a method on it, as training makes it, and the number of trainable parameters that was planned."""
    method = registry.load("methods", name)
    chosen = parse(method.options, options)
    spec = for_task(read_model(folder), task, 4)
    assert method.refusal(spec, task, chosen) == ""
    base = load_base(folder, task=task, load_arguments={"num_labels": 4} if task == "seq-cls" else None)
    base.config.pad_token_id = 1
    torch.manual_seed(0)
    return method.prepare(base, chosen, task), method.footprint(spec, chosen).trainable_parameters


def check_one(folder: Path, name: str, task: Task, **options: Any) -> None:
    """The count is as planned, all that trains gets a gradient and nothing else does, and padding changes nothing."""
    model, planned = prepared(folder, name, task, **options)
    trainable = {key: parameter for key, parameter in model.named_parameters() if parameter.requires_grad}
    assert sum(parameter.numel() for parameter in trainable.values()) == planned
    model.train()
    model(input_ids=IDS, attention_mask=MASK).logits.logsumexp(-1).sum().backward()
    assert [key for key, parameter in trainable.items() if parameter.grad is None] == []
    assert [key for key, parameter in model.named_parameters() if key not in trainable and parameter.grad is not None] == []
    model.eval()
    with torch.no_grad():
        together = model(input_ids=IDS, attention_mask=MASK).logits
        alone = model(input_ids=IDS[1:, :5], attention_mask=MASK[1:, :5]).logits
    torch.testing.assert_close(together[1:, :5] if task == "causal-lm" else together[1:], alone, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ["falcon", "bert"])
def test_counts_gradients_and_padding(tmp_path: Path, family: str, name: str) -> None:
    check_one(tiny_model(tmp_path / "base", family), name, "seq-cls" if family == "bert" else "causal-lm")


@pytest.mark.matrix
@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("family", ARCHITECTURES)
def test_counts_gradients_and_padding_everywhere(tmp_path: Path, family: str, name: str) -> None:
    folder = tiny_model(tmp_path / "base", family)
    check_one(folder, name, "seq-cls")
    if family != "bert":
        check_one(folder, name, "causal-lm")
