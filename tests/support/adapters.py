"""Real PEFT adapters for tests, random but far from doing nothing, and full fine-tunes of tiny models."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch


def lora(**changes: Any) -> Any:
    """A LoRA configuration on every linear layer."""
    from peft import LoraConfig

    return LoraConfig(**{"r": 4, "target_modules": "all-linear", "task_type": "CAUSAL_LM", **changes})


def make_adapter(folder: Path, base: Path, *, seed: int = 1, config: Any = None, scale: float = 0.2) -> Path:
    """Write an adapter for ``base`` into ``folder`` whose weights are all random, and return it."""
    from peft import get_peft_model
    from transformers import AutoModelForCausalLM

    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = get_peft_model(AutoModelForCausalLM.from_pretrained(base), config or lora())
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=scale)
    model.save_pretrained(folder, save_embedding_layers=False)
    return folder


def make_full(folder: Path, base: Path, *, seed: int = 1, dtype: torch.dtype | None = None) -> Path:
    """Write a model folder like ``base`` with other weights and the same tokenizer, and return it."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model = AutoModelForCausalLM.from_pretrained(base, **({"dtype": dtype} if dtype else {}))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" not in name:
                parameter.add_(torch.randn(parameter.shape, generator=generator).to(parameter.dtype), alpha=0.05)
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(base).save_pretrained(folder)
    return folder


@torch.no_grad()
def plain_logits(base: Path, adapter: Path | None, ids: torch.Tensor) -> torch.Tensor:
    """Logits of ``ids`` by plain transformers and PEFT."""
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(base)
    if adapter is not None:
        model = PeftModel.from_pretrained(model, adapter)
    return model.eval()(input_ids=ids).logits
