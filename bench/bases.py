"""Randomly initialised base models and adapters for the benchmarks; nothing is downloaded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetui.core.embedded import base_model_dir


def random_base(folder: Path, *, hidden: int, layers: int, heads: int, vocabulary: int = 16384, intermediate: int | None = None) -> Path:
    """A Qwen2 model of the given shape with the embedded model's tokenizer, float32."""
    import torch
    from transformers import AutoTokenizer, Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    config = Qwen2Config(
        vocab_size=vocabulary, hidden_size=hidden, num_hidden_layers=layers, num_attention_heads=heads,
        num_key_value_heads=max(1, heads // 4), intermediate_size=intermediate or 4 * hidden, max_position_embeddings=2048,
        tie_word_embeddings=True,
    )  # fmt: skip
    Qwen2ForCausalLM(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(base_model_dir()).save_pretrained(folder)
    return folder


def random_adapter(base: Any, folder: Path, seed: int, r: int = 16) -> Path:
    """A LoRA adapter on every projection, with random B so that it changes something; ``base`` is left clean."""
    import torch
    from peft import LoraConfig, get_peft_model

    torch.manual_seed(seed)
    wrapped = get_peft_model(
        base, LoraConfig(r=r, lora_alpha=r, target_modules="all-linear", task_type="CAUSAL_LM", init_lora_weights=False)
    )
    wrapped.save_pretrained(str(folder))
    wrapped.unload()
    return folder


def heading(*columns: str) -> str:
    """A table's first line: one wide column, the rest right-aligned."""
    return f"{columns[0]:<44}" + "".join(f"{column:>14}" for column in columns[1:])
