"""Tiny base models: randomly initialised real architectures with a byte-level BPE tokenizer of their own.

Each is an ordinary model folder (``config.json``, ``model.safetensors``, ``tokenizer.json``, …) of about a megabyte, built once a session.
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch

FAMILIES = ("qwen2", "llama", "falcon", "gpt2")
"""Architectures: grouped-query with biases, without biases, alibi with a fused QKV (Falcon-rw), and Conv1D with a fused QKV."""

ARCHITECTURES = ("qwen2", "qwen3", "llama", "falcon", "falcon-7b", "gpt2", "bert")
"""Everything that methods are tried on: also norms on queries and keys, Falcon's multi-query style with rotary positions, and an
encoder (for classification only; its files have no pooler, as those of masked language models)."""

CHATML = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)

_TEXT = (
    "The quick brown fox jumps over the lazy dog while the sun sets behind the hills.",
    "Give three tips for staying healthy: eat well, sleep enough, and take a walk every day.",
    "### Instruction:\nName the capital of France.\n\n### Response:\nThe capital of France is Paris.",
    "def add(a: int, b: int) -> int:\n    return a + b\n",
    "What is the answer to the question? It is a number, and the number is forty-two.",
    "When it rains in the morning, people take an umbrella; in the evening they come home and read.",
    "A model learns from examples. Each example has a prompt and a response, and the loss is on the response.",
    "user system assistant hello thanks please write translate summarise explain list describe",
)


@cache
def _workshop() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tiny-models-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@cache
def tiny_tokenizer(chat_template: bool = False) -> Any:
    """A byte-level BPE tokenizer trained on a few built-in sentences (under 600 tokens)."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = ["<|endoftext|>", "<|pad|>", "<|im_start|>", "<|im_end|>"]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(_TEXT, trainer)
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>" if chat_template else "<|endoftext|>",
        bos_token="<|endoftext|>",
        pad_token="<|pad|>",
        model_max_length=512,
    )
    if chat_template:
        wrapped.chat_template = CHATML
    return wrapped


@cache
def encoder_tokenizer() -> Any:
    """The same vocabulary as `tiny_tokenizer` for an encoder: texts stand between a first and a last special token."""
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast

    plain = tiny_tokenizer()
    inside = type(plain._tokenizer).from_str(plain._tokenizer.to_str())
    first, last = "<|im_start|>", "<|im_end|>"
    inside.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B {last}",
        special_tokens=[(token, inside.token_to_id(token)) for token in (first, last)],
    )  # fmt: skip
    return PreTrainedTokenizerFast(
        tokenizer_object=inside, cls_token=first, sep_token=last, pad_token="<|pad|>", unk_token="<|endoftext|>",
        mask_token="<|endoftext|>", model_max_length=512,
    )  # fmt: skip


def tiny_config(family: str, vocab_size: int, eos_token_id: int, *, hidden: int = 64, layers: int = 2) -> Any:
    """The configuration of a tiny model of ``family`` (see `FAMILIES`)."""
    from transformers import BertConfig, FalconConfig, GPT2Config, LlamaConfig, Qwen2Config, Qwen3Config

    ids = {"vocab_size": vocab_size, "bos_token_id": 0, "eos_token_id": eos_token_id, "pad_token_id": 1}
    decoder = {
        "hidden_size": hidden,
        "intermediate_size": 2 * hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 512,
    }
    if family == "qwen2":
        return Qwen2Config(**ids, **decoder, tie_word_embeddings=True)
    if family == "qwen3":
        return Qwen3Config(**ids, **decoder, head_dim=hidden // 4, tie_word_embeddings=True)
    if family == "falcon-7b":
        return FalconConfig(
            **ids, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4, alibi=False, bias=False,
            new_decoder_architecture=False, multi_query=True, parallel_attn=True, hidden_dropout=0.0, attention_dropout=0.0,
        )  # fmt: skip
    if family == "bert":
        return BertConfig(
            vocab_size=vocab_size, pad_token_id=1, hidden_size=hidden, intermediate_size=2 * hidden, num_hidden_layers=layers,
            num_attention_heads=4, max_position_embeddings=512, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
        )  # fmt: skip
    if family == "llama":
        return LlamaConfig(**ids, **decoder, tie_word_embeddings=False)
    if family == "falcon":
        return FalconConfig(
            **ids, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=4, alibi=True, bias=True,
            new_decoder_architecture=False, multi_query=False, parallel_attn=False, hidden_dropout=0.0, attention_dropout=0.0,
        )  # fmt: skip
    if family == "gpt2":
        return GPT2Config(**ids, n_embd=hidden, n_layer=layers, n_head=4, n_positions=512)
    raise ValueError(f"unknown family {family}")


@cache
def _built(family: str, seed: int, dtype: torch.dtype, chat_template: bool) -> Path:
    from transformers import AutoModelForCausalLM, AutoModelForMaskedLM

    tokenizer = encoder_tokenizer() if family == "bert" else tiny_tokenizer(chat_template)
    automatic = AutoModelForMaskedLM if family == "bert" else AutoModelForCausalLM
    config = tiny_config(family, len(tokenizer), tokenizer.eos_token_id)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = automatic.from_config(config, dtype=torch.float32)
    folder = _workshop() / f"{family}-{seed}-{str(dtype).removeprefix('torch.')}-{chat_template}"
    model.to(dtype).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def tiny_model(folder: Path, family: str, *, seed: int = 0, dtype: torch.dtype = torch.float32, chat_template: bool = False) -> Path:
    """Write a tiny base model of ``family`` into ``folder`` (which must not exist) and return it.

    The chat-template variant has a ChatML template and ends its turns with ``<|im_end|>``.
    """
    shutil.copytree(_built(family, seed, dtype, chat_template), folder)
    return folder
