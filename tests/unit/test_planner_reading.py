"""Model specs from files alone agree with the models that transformers builds."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from finetui.core.errors import CorruptFile, NotFound, UnsafeFile
from finetui.core.planner.reading import read_model

SMALL = {"vocab_size": 96, "hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
GATED = {**SMALL, "num_key_value_heads": 2, "intermediate_size": 160}
FALCON_RW = {"alibi": True, "bias": True, "multi_query": False, "parallel_attn": False, "new_decoder_architecture": False}
FALCON_7B = {"alibi": False, "bias": False, "multi_query": True, "parallel_attn": True, "new_decoder_architecture": False}
GPT2 = {"vocab_size": 96, "n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": 128, "bos_token_id": 1, "eos_token_id": 1}

CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "qwen2": ("Qwen2Config", "Qwen2ForCausalLM", GATED),
    "qwen2-tied": ("Qwen2Config", "Qwen2ForCausalLM", {**GATED, "tie_word_embeddings": True}),
    "qwen2-classifier": ("Qwen2Config", "Qwen2ForSequenceClassification", {**GATED, "num_labels": 5}),
    "qwen3": ("Qwen3Config", "Qwen3ForCausalLM", {**GATED, "head_dim": 32}),
    "qwen3-tied": ("Qwen3Config", "Qwen3ForCausalLM", {**GATED, "tie_word_embeddings": True}),
    "llama": ("LlamaConfig", "LlamaForCausalLM", GATED),
    "llama-tied": ("LlamaConfig", "LlamaForCausalLM", {**GATED, "tie_word_embeddings": True}),
    "llama-biases": ("LlamaConfig", "LlamaForCausalLM", {**GATED, "attention_bias": True, "mlp_bias": True}),
    "llama-bare": ("LlamaConfig", "LlamaModel", GATED),
    "mistral": ("MistralConfig", "MistralForCausalLM", GATED),
    "gemma": ("GemmaConfig", "GemmaForCausalLM", {**GATED, "head_dim": 32}),
    "gemma2": ("Gemma2Config", "Gemma2ForCausalLM", {**GATED, "head_dim": 32}),
    "gemma3": ("Gemma3TextConfig", "Gemma3ForCausalLM", {**GATED, "head_dim": 32}),
    "falcon-rw": ("FalconConfig", "FalconForCausalLM", {**SMALL, **FALCON_RW}),
    "falcon-rw-untied": ("FalconConfig", "FalconForCausalLM", {**SMALL, **FALCON_RW, "tie_word_embeddings": False}),
    "falcon-7b": ("FalconConfig", "FalconForCausalLM", {**SMALL, **FALCON_7B}),
    "falcon-40b": ("FalconConfig", "FalconForCausalLM", {**SMALL, "bias": False, "new_decoder_architecture": True, "num_kv_heads": 2}),
    "gpt2": ("GPT2Config", "GPT2LMHeadModel", GPT2),
    "gpt2-untied": ("GPT2Config", "GPT2LMHeadModel", {**GPT2, "tie_word_embeddings": False}),
    "bert": ("BertConfig", "BertModel", {**SMALL, "intermediate_size": 128}),
    "bert-classifier": ("BertConfig", "BertForSequenceClassification", {**SMALL, "intermediate_size": 128, "num_labels": 3}),
    "bert-masked": ("BertConfig", "BertForMaskedLM", {**SMALL, "intermediate_size": 128}),
}


def _meta_model(case: str) -> tuple[Any, Any]:
    import torch
    import transformers

    config_name, model_name, values = CASES[case]
    config = getattr(transformers, config_name)(**values)
    config.architectures = [model_name]
    with torch.device("meta"):
        model = getattr(transformers, model_name)(config)
    return config, model


@pytest.mark.parametrize("case", CASES)
def test_config_alone_gives_the_real_shapes(case: str, tmp_path: Path) -> None:
    config, model = _meta_model(case)
    config.save_pretrained(tmp_path)
    spec = read_model(tmp_path)
    parameters = dict(model.named_parameters())  # tied weights once
    assert {name: tensor.shape for name, tensor in spec.tensors.items()} == {name: tuple(p.shape) for name, p in parameters.items()}
    assert spec.parameters == sum(p.numel() for p in parameters.values())
    assert not spec.has_weights and spec.dtype == "float32"


@pytest.mark.parametrize("case", ["qwen2", "qwen3", "llama-biases", "falcon-rw", "falcon-7b", "gpt2", "bert-classifier"])
def test_linears_are_the_modules_of_the_real_model(case: str, tmp_path: Path) -> None:
    config, model = _meta_model(case)
    config.save_pretrained(tmp_path)
    real = {}
    for name, module in model.named_modules():
        weight = getattr(module, "weight", None)
        numbered = any(part.isdigit() for part in name.split("."))
        if weight is not None and weight.ndim == 2 and numbered:
            conv = type(module).__name__ == "Conv1D"
            real[name] = tuple(weight.shape) if conv else tuple(weight.shape)[::-1]
    spec = read_model(tmp_path)
    assert {linear.name: (linear.in_features, linear.out_features) for linear in spec.linears} == real
    assert {linear.block for linear in spec.linears} == {0, 1}


def test_saved_weights_give_the_same_spec_as_the_config(tmp_path: Path) -> None:
    import torch
    import transformers

    config = transformers.GPT2Config(**GPT2)
    transformers.GPT2LMHeadModel(config).to(torch.bfloat16).save_pretrained(tmp_path / "whole", max_shard_size="100KB")
    config.architectures = ["GPT2LMHeadModel"]
    config.dtype = torch.bfloat16
    config.save_pretrained(tmp_path / "config")
    whole, alone = read_model(tmp_path / "whole"), read_model(tmp_path / "config")
    assert len(list((tmp_path / "whole").glob("*.safetensors"))) > 1
    assert whole.has_weights and not alone.has_weights
    assert dict(whole.tensors) == dict(alone.tensors)
    assert set(whole.linears) == set(alone.linears)
    assert (whole.dtype, whole.parameters) == ("bfloat16", alone.parameters)


def test_unknown_architecture_is_read_from_its_weights(tmp_path: Path) -> None:
    import numpy
    from safetensors.numpy import save_file

    tensors = {
        "net.embed.weight": numpy.zeros((10, 8), numpy.float32),
        "net.blocks.0.mix.weight": numpy.zeros((16, 8), numpy.float32),
        "net.blocks.0.norm.weight": numpy.zeros(8, numpy.float32),
        "net.blocks.0.out.weight": numpy.zeros((8, 16), numpy.float32),
        "lm_head.weight": numpy.zeros((10, 8), numpy.float32),
    }
    save_file(tensors, tmp_path / "model.safetensors")
    _config(tmp_path, {"model_type": "novel", "d_model": 8, "n_layers": 1, "n_heads": 2, "vocab_size": 10, "tie_word_embeddings": False})
    spec = read_model(tmp_path)
    assert [(x.suffix, x.in_features, x.out_features, x.block) for x in spec.linears] == [("mix", 8, 16, 0), ("out", 16, 8, 0)]
    assert spec.parameters == 2 * 80 + 2 * 128 + 8


def _config(folder: Path, config: object) -> None:
    (folder / "config.json").write_text(json.dumps(config))


LLAMA_65B = {
    "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 8192, "num_hidden_layers": 80, "num_attention_heads": 64,
    "intermediate_size": 22016, "vocab_size": 32000, "torch_dtype": "float16", "tie_word_embeddings": False,
}  # fmt: skip


def test_the_published_count_of_llama_65b(tmp_path: Path) -> None:
    _config(tmp_path, LLAMA_65B)
    spec = read_model(tmp_path)
    assert spec.parameters == 65_285_660_672
    assert spec.dtype == "float16"


def test_reading_takes_milliseconds_and_follows_changes(tmp_path: Path) -> None:
    _config(tmp_path, LLAMA_65B)
    started = time.perf_counter()
    read_model(tmp_path)
    assert time.perf_counter() - started < 0.25
    _config(tmp_path, {**LLAMA_65B, "num_hidden_layers": 4, "vocab_size": 100})
    assert read_model(tmp_path).num_hidden_layers == 4


def test_no_folder_no_config(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="is not a folder"):
        read_model(tmp_path / "absent")
    with pytest.raises(NotFound, match=r"no config\.json"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not the JSON"),
        ("[]", "not the JSON"),
        ('{"model_type": "llama"}', "has no hidden_size"),
        ('{"model_type": "llama", "hidden_size": "big"}', "hidden_size is 'big'"),
    ],
)
def test_malformed_config(tmp_path: Path, text: str, problem: str) -> None:
    (tmp_path / "config.json").write_text(text)
    with pytest.raises(CorruptFile, match=problem) as caught:
        read_model(tmp_path)
    assert "config.json" in caught.value.message


def test_pickled_weights_are_refused(tmp_path: Path) -> None:
    _config(tmp_path, LLAMA_65B)
    (tmp_path / "pytorch_model.bin").write_bytes(b"\x80\x02")
    with pytest.raises(UnsafeFile, match=r"pytorch_model\.bin") as caught:
        read_model(tmp_path)
    assert caught.value.exit_code == 4 and "save_pretrained" in caught.value.hint


def test_remote_code_is_refused_unless_transformers_has_the_architecture(tmp_path: Path) -> None:
    _config(tmp_path, {**LLAMA_65B, "model_type": "novel", "architectures": ["Novel"], "auto_map": {"AutoModel": "modeling.Novel"}})
    with pytest.raises(UnsafeFile, match="'Novel' is Python code"):
        read_model(tmp_path)
    _config(tmp_path, {**LLAMA_65B, "auto_map": {"AutoModel": "modeling.Novel"}})
    assert read_model(tmp_path).model_type == "llama"


def test_unknown_architecture_without_weights(tmp_path: Path) -> None:
    _config(tmp_path, {**LLAMA_65B, "model_type": "novel"})
    with pytest.raises(NotFound, match="'novel' models are not known"):
        read_model(tmp_path)


def test_stray_shard_without_index(tmp_path: Path) -> None:
    _config(tmp_path, LLAMA_65B)
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"")
    with pytest.raises(CorruptFile, match="neither"):
        read_model(tmp_path)
