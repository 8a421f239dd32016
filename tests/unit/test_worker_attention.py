"""Packing: no document sees another, and packed training computes what padded training does."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
import torch
from finetui.core.api import Encoded
from finetui.core.worker import attention
from finetui.core.worker.batches import IGNORED, collate
from finetui.core.worker.forward import summed_loss
from finetui.core.worker.loading import load_base
from finetui.core.worker.precision import choose
from support.models import FAMILIES, tiny_model
from torch.nn.functional import scaled_dot_product_attention

CPU = torch.device("cpu")
FP32, BF16 = choose(CPU, bf16=False), choose(CPU, bf16=True)


def documents(seed: int, *lengths: int) -> list[Encoded]:
    generator = random.Random(seed)
    made = []
    for length in lengths:
        ids = [generator.randrange(4, 500) for _ in range(length)]
        made.append(Encoded(ids, [IGNORED] * (length // 3) + ids[length // 3 :]))
    return made


def loss(model: Any, examples: list[Encoded], *, packed: bool) -> torch.Tensor:
    return sum((summed_loss(model, batch) for batch in collate(examples, packed=packed, pad_id=1, device=CPU)), torch.tensor(0.0))


@pytest.mark.parametrize("family", FAMILIES)
def test_a_documents_loss_does_not_change_with_its_neighbours(tmp_path: Path, family: str) -> None:
    model = load_base(tiny_model(tmp_path / "model", family))
    packed = attention.enable(model, FP32)
    assert packed == (family != "falcon")
    model.config.use_cache = True  # with a cache, transformers lets packed documents see each other
    (document,) = documents(0, 24)
    alone = loss(model, [document], packed=packed)
    for neighbours in (documents(1, 9, 31), documents(2, 40, 5)):
        group = [neighbours[0], document, neighbours[1]]
        others = loss(model, neighbours[:1], packed=packed) + loss(model, neighbours[1:], packed=packed)
        assert torch.allclose(loss(model, group, packed=packed) - others, alone, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_packed_and_padded_give_the_same_loss_and_gradients(tmp_path: Path, family: str, checkpointing: bool) -> None:
    model = load_base(tiny_model(tmp_path / "model", family)).train()
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
        if hasattr(module, "attn_dropout") and isinstance(module.attn_dropout, float):
            module.attn_dropout = 0.0
    examples = documents(3, 20, 7, 33, 40, 41, 12)
    padded = loss(model, examples, packed=False)
    padded.backward()
    expected = {name: parameter.grad for name, parameter in model.named_parameters()}
    model.zero_grad()
    packed = attention.enable(model, FP32)
    if checkpointing:
        model.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
    other = loss(model, examples, packed=packed)
    other.backward()
    assert torch.allclose(padded, other, rtol=1e-5)
    for name, parameter in model.named_parameters():
        assert torch.allclose(parameter.grad, expected[name], rtol=1e-3, atol=1e-4), name


def test_the_trial_finds_out_that_falcon_leaks(tmp_path: Path) -> None:
    model = load_base(tiny_model(tmp_path / "model", "falcon"))
    assert not attention._documents_stay_apart(model)


def test_a_refused_model_is_as_before(tmp_path: Path) -> None:
    model = load_base(tiny_model(tmp_path / "model", "falcon")).train()
    before = model.config._attn_implementation
    assert not attention.enable(model, FP32)
    assert model.config._attn_implementation == before
    assert model.training


@pytest.mark.parametrize("window", [4, 64])
def test_sliding_windows_stay(window: int) -> None:
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
        sliding_window=window,
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    ids = torch.arange(12)[None]
    expected = model(input_ids=ids, use_cache=False).logits
    assert attention.enable(model, FP32)
    assert torch.allclose(model(input_ids=ids, use_cache=False).logits, expected, atol=1e-5)


@pytest.mark.parametrize("family", [family for family in FAMILIES if family != "falcon"])
def test_generation_is_unchanged(tmp_path: Path, family: str) -> None:
    model = load_base(tiny_model(tmp_path / "model", family))
    ids = torch.tensor([[1, 1, 40, 41, 42], [50, 51, 52, 53, 54]])
    arguments = {"attention_mask": (ids != 1).long(), "max_new_tokens": 8, "do_sample": False}
    expected = model.generate(ids, **arguments)
    assert attention.enable(model, FP32)
    assert torch.equal(model.generate(ids, **arguments), expected)


@pytest.mark.parametrize(("heads", "kv_heads"), [(4, 4), (4, 2), (6, 1)])
def test_plain_attention_is_causal_attention(heads: int, kv_heads: int) -> None:
    torch.manual_seed(0)
    query = torch.randn(1, heads, 33, 16, requires_grad=True)
    key, value = (torch.randn(1, kv_heads, 33, 16, requires_grad=True) for _ in range(2))
    expected = scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)
    weights = torch.randn_like(expected)
    wanted = torch.autograd.grad((expected * weights).sum(), (query, key, value))
    result = attention._plain_attention(query, key, value, None)
    got = torch.autograd.grad((result * weights).sum(), (query, key, value))
    assert torch.allclose(result, expected, atol=1e-5)
    assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(got, wanted))


def test_bfloat16_packed_is_close_to_float32(tmp_path: Path) -> None:
    model = load_base(tiny_model(tmp_path / "model", "qwen2"))
    examples = documents(4, 20, 50)
    exact = loss(model, examples, packed=False)
    assert attention.enable(model, BF16)
    with BF16.autocast():
        rounded = loss(model, examples, packed=True)
    assert torch.allclose(rounded, exact, rtol=5e-3)
