"""The sliced loss is the ordinary one, gradients included."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from finetui.core.api import Encoded
from finetui.core.worker import losses
from finetui.core.worker.batches import collate
from finetui.core.worker.forward import summed_loss, total_loss
from finetui.core.worker.losses import LossFunction
from finetui.core.worker.precision import choose
from support.models import FAMILIES, tiny_model

CPU = torch.device("cpu")
FP32 = choose(CPU, bf16=False)


def batch():
    ids = list(range(10, 60))
    return collate([Encoded(ids, [-100] * 5 + ids[5:]), Encoded(ids[:9], ids[:9])], packed=False, pad_id=1, device=CPU)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("precision", [{"bf16": False}, {"bf16": True}], ids=str)
def test_loss_and_gradients_are_those_of_whole_logits(tmp_path: Path, monkeypatch, family: str, precision: dict[str, bool]) -> None:
    from finetui.core.worker.loading import load_base

    monkeypatch.setattr(losses, "_SLICE_BYTES", 7 * 4 * 536)
    chosen = choose(CPU, **precision)
    model = load_base(tiny_model(tmp_path / "model", family))
    function = LossFunction(model, chosen)
    assert function.sliced
    results = []
    for compute in (lambda each: summed_loss(model, each), function):
        model.zero_grad()
        with chosen.autocast():
            total = sum(compute(each) for each in batch())
        (total / 50).backward()
        results.append((total.item(), {name: parameter.grad for name, parameter in model.named_parameters()}))
    (whole, expected), (sliced, got) = results
    assert sliced == pytest.approx(whole, rel=1e-5 if not precision["bf16"] else 1e-3)
    for name, gradient in expected.items():
        error = (got[name] - gradient).norm() / gradient.norm().clamp(min=1e-6)
        assert error < (1e-4 if not precision["bf16"] else 3e-2), name


def test_a_head_with_something_after_it_is_left_alone() -> None:
    from transformers import Gemma2Config, Gemma2ForCausalLM

    config = Gemma2Config(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=8,
        final_logit_softcapping=1.0,
    )  # fmt: skip
    model = Gemma2ForCausalLM(config)
    model.lm_head.weight.data *= 50
    function = LossFunction(model, FP32)
    assert not function.sliced
    (first, *_) = batch()
    assert torch.equal(function(first), summed_loss(model, first))


def test_evaluation_makes_no_gradients_and_sums_over_tokens(tmp_path: Path) -> None:
    from finetui.core.worker.loading import load_base

    model = load_base(tiny_model(tmp_path / "model", "qwen2"))
    loss, tokens = total_loss(model, LossFunction(model, FP32), batch(), FP32)
    assert tokens == 45 + 8
    assert loss == pytest.approx(sum(summed_loss(model, each).item() for each in batch()), rel=1e-5)
    assert all(parameter.grad is None for parameter in model.parameters())


def test_the_head_is_itself_again_afterwards(tmp_path: Path) -> None:
    from finetui.core.worker.loading import load_base

    model = load_base(tiny_model(tmp_path / "model", "gpt2"))
    function = LossFunction(model, FP32)
    function(batch()[0])
    assert model(input_ids=torch.tensor([[5, 6]])).logits.shape == (1, 2, model.config.vocab_size)
