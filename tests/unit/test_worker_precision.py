"""Which number format is chosen."""

from __future__ import annotations

import pytest
import torch
from finetui.core.errors import Refused, UsageError
from finetui.core.worker import precision
from finetui.core.worker.loading import compute_device

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize(
    ("device", "hardware", "bf16", "fp16", "name"),
    [
        (CPU, True, None, None, "bf16"), (CPU, False, None, None, "fp32"), (CPU, True, False, None, "fp32"),
        (CPU, False, True, None, "bf16"), (CPU, True, None, True, "fp16"), (CUDA, True, None, None, "bf16"),
        (CUDA, False, None, None, "fp16"), (CUDA, False, None, False, "fp32"), (CUDA, True, False, None, "fp32"),
    ],
)  # fmt: skip
def test_choice(monkeypatch, device: torch.device, hardware: bool, bf16: bool | None, fp16: bool | None, name: str) -> None:
    monkeypatch.setattr(precision, "has_bf16", lambda _: hardware)
    assert precision.choose(device, bf16, fp16).name == name


def test_both_are_refused() -> None:
    with pytest.raises(UsageError, match="bf16 and fp16"):
        precision.choose(CPU, True, True)


def test_only_float16_scales_the_loss() -> None:
    assert precision.choose(CPU, fp16=True).scaler().is_enabled()
    assert not precision.choose(CPU, bf16=True).scaler().is_enabled()


def test_autocast_computes_in_the_format_and_float32_leaves_it_alone() -> None:
    one = torch.ones(2, 2)
    with precision.choose(CPU, bf16=True).autocast():
        assert (one @ one).dtype == torch.bfloat16
    with precision.choose(CPU, bf16=False).autocast():
        assert (one @ one).dtype == torch.float32


def test_a_gpu_that_torch_cannot_use_is_not_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-0123")
    with pytest.raises(Refused, match="torch cannot use it") as problem:
        compute_device()
    assert "--gpus none" in problem.value.hint
    for nothing in ("", "-1"):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", nothing)
        assert compute_device().type != "cuda"
