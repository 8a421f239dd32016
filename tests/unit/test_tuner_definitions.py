"""Each method of FineTUI's own tuner against its paper's definition, computed again from the base's modules and the bare tensors."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from support.models import tiny_model
from support.tuned import prepared, task_of
from torch import nn
from torch.nn.functional import gelu, linear, softmax
from transformers.activations import ACT2FN

IDS = torch.tensor([[7, 100, 42, 9, 250, 33, 8, 77]])
H, M, BLOCKS, TOKENS = 64, 4, 2, 20
"""Of the tiny models: hidden size, bottleneck (64 / 16), blocks; and virtual tokens by default."""

DECODERS = ("qwen2", "qwen3", "llama", "falcon", "falcon-7b", "gpt2")


def part(module: nn.Module, name: str) -> Any:
    """A part of the only adapter at a module."""
    layer: Any = module.tuned
    return layer.parts("default")[name]


def block_states(model: Any, blocks: Any) -> tuple[torch.Tensor, torch.Tensor]:
    """What goes into the first block and what comes out of it, as the second sees it."""
    seen: list[torch.Tensor] = []
    handles = [block.register_forward_pre_hook(lambda _, args: seen.append(args[0])) for block in blocks]
    model(input_ids=IDS)
    for handle in handles:
        handle.remove()
    return seen[0], seen[1]


def added(adapter: Any, x: torch.Tensor, activation: Callable[[torch.Tensor], torch.Tensor] = gelu, scaling: float = 1.0) -> torch.Tensor:
    """``scaling · (W_up f(W_down x + b) + b)``."""
    return scaling * linear(activation(linear(x, adapter.down.weight, adapter.down.bias)), adapter.up.weight, adapter.up.bias)


# Bottleneck adapters ------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("variant", ["houlsby", "pfeiffer", "parallel"])
def test_bottlenecks_in_a_pre_norm_block(tmp_path: Path, variant: str) -> None:
    model, planned = prepared(tiny_model(tmp_path / "base", "gpt2"), "adapter", "causal-lm", noise=0.3, variant=variant, scaling=2.0)
    block = model.get_base_model().transformer.h[0]
    x, y = block_states(model, model.get_base_model().transformer.h)
    adapters = [part(module, "adapter") for module in (block.attn, block.mlp, block) if hasattr(module, "tuned")]
    with model.disable_adapter():
        attention = block.attn(block.ln_1(x))[0]
        if variant == "houlsby":
            attention = attention + added(adapters[0], attention, scaling=2.0)
        middle = x + attention
        states = block.ln_2(middle)
        forward = block.mlp(states)
        expected = {
            "houlsby": lambda: middle + forward + added(adapters[-1], forward, scaling=2.0),
            "pfeiffer": lambda: middle + forward + added(adapters[-1], middle + forward, scaling=2.0),
            "parallel": lambda: middle + forward + added(adapters[-1], states, scaling=2.0),
        }[variant]()
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)
    each = 2 * H * M + M + H
    assert planned == (2 if variant == "houlsby" else 1) * BLOCKS * each


@torch.no_grad()
@pytest.mark.parametrize("variant", ["houlsby", "pfeiffer", "parallel"])
def test_bottlenecks_in_a_post_norm_block(tmp_path: Path, variant: str) -> None:
    model, _ = prepared(tiny_model(tmp_path / "base", "bert"), "adapter", "seq-cls", noise=0.3, variant=variant)
    blocks = model.get_base_model().bert.encoder.layer
    block = blocks[0]
    x, y = block_states(model, blocks)
    places = (block.attention.output.dropout, block.output.dropout, block.output.LayerNorm, block.output)
    adapters = [part(module, "adapter") for module in places if hasattr(module, "tuned")]
    with model.disable_adapter():
        attention = block.attention.output.dense(block.attention.self(x)[0])
        if variant == "houlsby":
            attention = attention + added(adapters[0], attention)
        middle = block.attention.output.LayerNorm(attention + x)
        forward = block.output.dense(block.intermediate(middle))
        norm = block.output.LayerNorm
        expected = {
            "houlsby": lambda: norm(middle + forward + added(adapters[-1], forward)),
            "pfeiffer": lambda: norm(middle + forward + added(adapters[-1], norm(middle + forward))),
            "parallel": lambda: norm(middle + forward + added(adapters[-1], middle)),
        }[variant]()
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize("family", ["qwen2", "bert"])
def test_adapters_start_where_their_papers_say(tmp_path: Path, family: str) -> None:
    """Houlsby's and Pfeiffer's near the identity, parallel ones and LoRA as exactly nothing."""
    base = tiny_model(tmp_path / "base", family)

    def both(name: str, **options: Any) -> tuple[torch.Tensor, torch.Tensor]:
        model, _ = prepared(base, name, task_of(family), **options)
        model.eval()
        with model.disable_adapter():
            plain = model(input_ids=IDS).logits
        return plain, model(input_ids=IDS).logits

    for variant in ("houlsby", "pfeiffer"):
        plain, changed = both("adapter", variant=variant)
        assert 0 < (changed - plain).abs().max() < 0.02 * plain.std()
    assert torch.equal(*both("adapter", variant="parallel"))
    assert torch.equal(*both("lora_adapter", **{"adapter.variant": "parallel"}))


@torch.no_grad()
def test_layer_norms_train_beside_the_bases(tmp_path: Path) -> None:
    for family, norms in (("qwen3", 4 * H - 2 * H + 2 * (H // 4)), ("bert", 4 * H)):
        base = tiny_model(tmp_path / family, family)
        _, without = prepared(base, "adapter", task_of(family))
        model, planned = prepared(base, "adapter", task_of(family), layer_norms=True)
        assert planned - without == BLOCKS * norms
        model.eval()
        with model.disable_adapter():
            plain = model(input_ids=IDS).logits
        names = [name for name, parameter in model.named_parameters() if parameter.requires_grad and ".norm." in name]
        for name in names:
            model.get_parameter(name).add_(1.0)
        assert not torch.allclose(model(input_ids=IDS).logits, plain)
        with model.disable_adapter():
            assert torch.equal(model(input_ids=IDS).logits, plain)


# Prefixes -----------------------------------------------------------------------------------------------------------


def split_heads(x: torch.Tensor) -> torch.Tensor:
    return x.view(*x.shape[:-1], 4, H // 4).transpose(-2, -3)


@torch.no_grad()
@pytest.mark.parametrize("name", ["p_tuning_v2", "prefix_tuning"])
def test_prefixes_are_keys_and_values_before_the_texts(tmp_path: Path, name: str) -> None:
    """``softmax(q [P_K; K]ᵀ) [P_V; V]``, the text among itself causal, the prefix seen by all."""
    model, planned = prepared(tiny_model(tmp_path / "base", "gpt2"), name, "causal-lm", noise=0.3)
    block = model.get_base_model().transformer.h[0]
    x, y = block_states(model, model.get_base_model().transformer.h)
    if name == "p_tuning_v2":
        keys, values = part(block.attn, "prefix").keys, part(block.attn, "prefix").values
        assert planned == BLOCKS * 2 * TOKENS * H
    else:
        network = part(model.get_base_model().transformer.wte, "projection")
        hidden = torch.tanh(linear(network.embedding, network.inner.weight, network.inner.bias))
        outputs = linear(hidden, network.outer.weight, network.outer.bias).view(TOKENS, BLOCKS, 2, H)
        keys, values = split_heads(outputs[:, 0, 0]), split_heads(outputs[:, 0, 1])
        assert planned == TOKENS * H + (H + 1) * 512 + 513 * BLOCKS * 2 * H
    with model.disable_adapter():
        query, key, value = (split_heads(states) for states in block.attn.c_attn(block.ln_1(x)).split(H, -1))
        scores = query @ torch.cat([keys[None], key], 2).transpose(-1, -2) / (H // 4) ** 0.5
        tokens = IDS.shape[1]
        allowed = torch.ones(tokens, TOKENS + tokens).tril(TOKENS).bool()
        mixed = softmax(scores.masked_fill(~allowed, -torch.inf), -1) @ torch.cat([values[None], value], 2)
        middle = x + block.attn.c_proj(mixed.transpose(1, 2).reshape(x.shape))
        expected = middle + block.mlp(block.ln_2(middle))
    torch.testing.assert_close(y, expected, rtol=1e-5, atol=1e-5)


def test_a_prefix_has_the_sizes_of_the_keys(tmp_path: Path) -> None:
    """Grouped and multi-query attention have fewer heads of keys than of queries."""
    for family, heads in (("qwen2", 2), ("falcon-7b", 1), ("falcon", 4), ("bert", 4)):
        model, planned = prepared(tiny_model(tmp_path / family, family), "p_tuning_v2", task_of(family), num_virtual_tokens=3)
        tensors = {key: p for key, p in model.named_parameters() if key.endswith((".prefix.keys", ".prefix.values"))}
        assert {tuple(tensor.shape) for tensor in tensors.values()} == {(heads, 3, 16)} and len(tensors) == 2 * BLOCKS
        assert planned - sum(tensor.numel() for tensor in tensors.values()) == (H * 4 + 4 + H * H + H if family == "bert" else 0)


@torch.no_grad()
def test_mam_is_a_prefix_and_a_scaled_adapter_beside_the_feed_forward(tmp_path: Path) -> None:
    model, planned = prepared(tiny_model(tmp_path / "base", "gpt2"), "mam", "causal-lm", noise=0.3)
    block = model.get_base_model().transformer.h[0]
    adapter = part(block.mlp, "adapter")
    assert (adapter.scaling, adapter.down.out_features) == (4.0, H // 2)
    assert planned == 30 * H + (H + 1) * 800 + 801 * BLOCKS * 2 * H + BLOCKS * (2 * H * 32 + 32 + H)
    x = torch.randn(2, 3, H)
    together = block.mlp(x)
    with model.disable_adapter():
        torch.testing.assert_close(together, block.mlp(x) + added(adapter, x, torch.relu, 4.0), rtol=1e-5, atol=1e-5)


# Prompts ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("family", DECODERS)
def test_a_prompt_is_virtual_tokens_before_the_embedded_text(tmp_path: Path, family: str) -> None:
    """The logits are those of a base that is given both as embeddings, also where rows are padded on the left."""
    model, planned = prepared(tiny_model(tmp_path / "base", family), "prompt_tuning", "causal-lm", noise=0.3, num_virtual_tokens=5)
    base = model.get_base_model()
    prompt = part(base.get_input_embeddings(), "prompt").embeddings
    assert planned == 5 * H == prompt.numel()
    ours = model(input_ids=IDS).logits
    padded, mask = torch.cat([torch.ones_like(IDS[:, :3]), IDS], 1), torch.tensor([[0] * 3 + [1] * 8])
    positions = (mask.cumsum(-1) - 1).clamp(min=0)
    left = model(input_ids=padded, attention_mask=mask, position_ids=positions).logits[:, 3:]
    with model.disable_adapter():
        together = torch.cat([prompt[None], base.get_input_embeddings()(IDS)], 1)
        expected = base(inputs_embeds=together, attention_mask=torch.ones(1, 13, dtype=torch.long)).logits[:, 5:]
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=2e-5)
    torch.testing.assert_close(left, expected, rtol=1e-4, atol=2e-5)


@torch.no_grad()
def test_a_prompt_before_an_encoders_text_leaves_the_first_token_to_the_pooler(tmp_path: Path) -> None:
    model, _ = prepared(tiny_model(tmp_path / "base", "bert"), "prompt_tuning", "seq-cls", noise=0.3, num_virtual_tokens=5)
    base = model.get_base_model()
    prompt = part(base.bert.embeddings.word_embeddings, "prompt").embeddings
    ours = model(input_ids=IDS).logits
    bert = base.bert
    with model.disable_adapter():
        together = torch.cat([prompt[None], bert.embeddings.word_embeddings(IDS)], 1)
        hidden = bert.encoder(bert.embeddings(inputs_embeds=together)).last_hidden_state
    head = base.classifier(bert.pooler(hidden[:, 5:]))
    torch.testing.assert_close(ours, head, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["MLP", "LSTM"])
def test_p_tunings_network_is_pefts(tmp_path: Path, kind: str) -> None:
    """The same tensors as in PEFT's prompt encoder, which follows the paper's code, and the same vectors from them."""
    from peft import PromptEncoder, PromptEncoderConfig

    options: dict[str, Any] = {"encoder_reparameterization_type": kind, "encoder_hidden_size": 24, "num_virtual_tokens": 6}
    model, planned = prepared(tiny_model(tmp_path / "base", "llama"), "p_tuning", "causal-lm", **options)
    ours = part(model.get_base_model().get_input_embeddings(), "prompt")
    config = PromptEncoderConfig(**options, encoder_num_layers=2, token_dim=H, num_transformer_submodules=1)
    theirs: Any = PromptEncoder(config)
    assert planned == sum(parameter.numel() for parameter in theirs.parameters())
    with torch.no_grad():
        for parameter, own in zip(theirs.parameters(), ours.parameters()):
            assert parameter.shape == own.shape
            parameter.copy_(own)
        torch.testing.assert_close(theirs(torch.arange(6)[None])[0], ours.vectors())


@torch.no_grad()
def test_prompts_start_as_they_are_told(tmp_path: Path) -> None:
    from finetui.core.worker.loading import load_tokenizer

    folder = tiny_model(tmp_path / "base", "llama")
    text = "Answer:"
    for options in ({}, {"prompt_tuning_init": "TEXT", "prompt_tuning_init_text": text}, {"prompt_tuning_init": "RANDOM"}):
        model, _ = prepared(folder, "prompt_tuning", "causal-lm", **options)
        table = model.get_base_model().get_input_embeddings()
        prompt = part(table, "prompt").embeddings
        rows = [(table.weight == vector).all(-1).nonzero().flatten().tolist() for vector in prompt]
        if options.get("prompt_tuning_init") == "RANDOM":
            assert rows == [[]] * TOKENS and 0.5 < prompt.std() < 1.5
        else:
            assert all(rows)
        if "prompt_tuning_init_text" in options:
            tokens = load_tokenizer(folder)(text, add_special_tokens=False)["input_ids"]
            assert [row[0] for row in rows] == (tokens * TOKENS)[:TOKENS]


# UniPELT ------------------------------------------------------------------------------------------------------------


@torch.no_grad()
@pytest.mark.parametrize("family", ["qwen2", "falcon", "bert"])
def test_open_gates_are_the_three_methods_and_shut_ones_the_base(tmp_path: Path, family: str) -> None:
    from finetui.core.worker.tuners import gate_means
    from finetui.core.worker.tuners.gates import Gate

    options = {"prefix.prefix_projection": False}
    model, _ = prepared(tiny_model(tmp_path / "base", family), "unipelt", task_of(family), noise=0.3, **options)
    gates = [module for module in model.modules() if isinstance(module, Gate)]
    assert {tuple(gate.linear.weight.shape) for gate in gates} == {(1, H)}
    assert len(gates) == BLOCKS * (3 if family == "falcon" else 4)
    model(input_ids=IDS)
    assert gate_means(model).keys() == {"lora", "prefix", "adapter"}
    assert all(0 < value < 1 for value in gate_means(model).values())

    def with_gates(score: float) -> torch.Tensor:
        for gate in gates:
            gate.linear.weight.zero_()
            gate.linear.bias.fill_(score)
        return model(input_ids=IDS).logits

    with model.disable_adapter():
        plain = model(input_ids=IDS).logits
    shut = with_gates(-80.0)
    if family == "bert":  # the paper's gate scales keys and values: shut, the prefix is there still, all zeros
        assert not torch.allclose(shut, plain, atol=1e-4)
        for name, parameter in model.named_parameters():
            if name.endswith((".prefix.keys", ".prefix.values")):
                parameter.zero_()
        torch.testing.assert_close(shut, with_gates(-80.0), rtol=0, atol=0)
        return
    torch.testing.assert_close(shut, plain, rtol=1e-5, atol=1e-5)
    opened = with_gates(80.0)
    for module in model.modules():
        if hasattr(module, "gate"):
            module.gate = None
        if hasattr(module, "lora_A"):
            module.scaling = 1.0
    torch.testing.assert_close(opened, model(input_ids=IDS).logits, rtol=1e-5, atol=1e-5)


@torch.no_grad()
def test_a_gate_is_a_sigmoid_of_what_its_part_sees(tmp_path: Path) -> None:
    """Token by token in causal models; the mean over a row's tokens, padding left out, in encoders."""
    from finetui.core.worker.tuners.context import Context
    from finetui.core.worker.tuners.gates import Gate

    x, mask = torch.randn(2, 3, H), torch.tensor([[1, 1, 1], [1, 0, 0]])
    for causal in (True, False):
        context = Context(causal, mask=mask)
        gate = Gate(H, context, ("adapter", "place"))
        tokens = torch.sigmoid(x @ gate.linear.weight[0] + gate.linear.bias)[:, :, None]
        expected = tokens if causal else torch.stack([tokens[0].mean(0), tokens[1, 0]])[:, None]
        torch.testing.assert_close(gate(x), expected)
        torch.testing.assert_close(gate.logarithm(x).exp(), tokens)
        torch.testing.assert_close(context.gates["adapter", "place"], tokens.mean())


def test_unipelts_count(tmp_path: Path) -> None:
    _, planned = prepared(tiny_model(tmp_path / "base", "llama"), "unipelt", "causal-lm", **{"prefix.prefix_projection": False})
    lora = 8 * (H + 64) + 8 * (H + 32) + 2 * (H + 1)  # queries 64 wide, grouped values 32
    prefix = 2 * 10 * 32 + H + 1
    adapter = 2 * H * M + M + H + H + 1
    assert planned == BLOCKS * (lora + prefix + adapter)


def test_non_linearities_are_those_of_transformers() -> None:
    from finetui.core.options import describe
    from finetui.plugins.methods.parts import BottleneckOptions

    (names,) = (row.choices for row in describe(BottleneckOptions) if row.name == "non_linearity")
    assert all(name in ACT2FN for name in names)
