"""Optimizers: float32 master copies beside 16-bit weights."""

from __future__ import annotations

import pytest
import torch
from finetui.core.errors import UsageError
from finetui.core.training import require_master_copies
from finetui.core.worker import optim
from finetui.core.worker.optim import MasterCopyAdamW, held, settle
from torch import nn


def test_master_copies_are_updated_as_adamw_updates_float32_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(optim, "_SLICE_BYTES", 40)  # the second weight starts a slice of its own
    generator = torch.Generator().manual_seed(0)
    start = [torch.randn(4, 4, generator=generator), torch.randn(3, generator=generator), torch.randn(2, generator=generator)]
    weights, plain = ([nn.Parameter(tensor.clone()) for tensor in start] for _ in range(2))
    groups = [{"params": weights[:1], "lr": 0.1, "weight_decay": 0.5}, {"params": weights[1:], "lr": 0.01, "weight_decay": 0.0}]
    expected = torch.optim.AdamW([{**group, "params": plain[:1] if number == 0 else plain[1:]} for number, group in enumerate(groups)])
    optimizer = MasterCopyAdamW(groups, torch.bfloat16)
    assert all(weight.dtype == torch.bfloat16 for weight in weights)
    for _ in range(3):
        for weight, other in list(zip(weights, plain))[:2]:  # the last has no gradient: frozen for now
            weight.grad = torch.randn(weight.shape, generator=generator).bfloat16()
            other.grad = weight.grad.float()
        optimizer.step()
        expected.step()
        optimizer.zero_grad()
    exact = [tensor for _, tensor in held(optimizer)]
    assert all(torch.equal(tensor, other) for tensor, other in zip(exact, plain))
    assert all(torch.equal(weight, tensor.bfloat16()) for weight, tensor in zip(weights, exact))
    assert all(weight.grad is None for weight in weights) and all(tensor.grad is None for tensor in exact)
    assert torch.equal(exact[2], start[2])
    settle(optimizer)
    assert all(torch.equal(weight, other) for weight, other in zip(weights, plain))


def test_master_copies_are_refused_where_they_make_no_sense() -> None:
    require_master_copies("full", "model", "bf16")
    with pytest.raises(UsageError, match="what lora trains is float32 anyway"):
        require_master_copies("lora", "adapter")
    with pytest.raises(UsageError, match="computes in fp32"):
        require_master_copies("full", "model", "fp32")
