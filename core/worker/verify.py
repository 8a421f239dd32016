"""Whether two models say the same: logits and greedy choices on sample prompts, in float32."""

from __future__ import annotations

import gc
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..api import Turn
from .loading import load_tokenizer
from .mergebase import BaseRecipe
from .rendering import ChatRenderer
from .slots import load_complete

_PROMPTS = (
    "What is the capital of France?",
    "Write a short poem about the sea.",
    "def fibonacci(n):\n    ",
    "Translate 'good morning' into Spanish, then explain the answer in one sentence.",
)

_MAX_TOKENS = 64

_TOLERANCES = {"float32": 1e-3, "bfloat16": 5e-2, "float16": 1e-2}
"""Largest difference allowed, as a share of the largest logit: what one rounding of the weights to the dtype can cause."""


@dataclass(frozen=True)
class Reference:
    """What a model said.

    Attributes:
        prompts: token ids, (1, tokens) each.
        logits: (tokens, vocabulary) each, float32 on the CPU.
        effect: the largest change of a logit that the adapter makes to its base.
    """

    prompts: list[torch.Tensor]
    logits: list[torch.Tensor]
    effect: float


def reference(recipe: BaseRecipe, base: Path, adapter: Path, device: torch.device) -> Reference:
    """What the adapter says on the base that it was trained on."""
    prompts = _prompts(load_tokenizer(base), device)
    model = recipe.trained_on(base, device)
    plain = _logits(model, prompts)
    logits = _logits(load_complete(model, adapter), prompts)
    effect = max((after - before).abs().max().item() for before, after in zip(plain, logits))
    del model
    gc.collect()
    return Reference(prompts, logits, effect)


def compare(expected: Reference, model: Any, stored_dtype: str) -> dict[str, Any]:
    """Compare ``model`` with what was expected of it.

    Args:
        stored_dtype: that its weights were rounded to; decides the tolerance.

    Returns:
        ``{passed, max_abs_diff, max_rel_diff, tolerance, same_greedy_tokens, greedy_agreement, tokens, adapter_effect}``:
        the relative difference is to the largest logit, the agreement a share of the positions.
    """
    logits = _logits(model, expected.prompts)
    largest = max(before.abs().max().item() for before in expected.logits)
    difference = max((before - after).abs().max().item() for before, after in zip(expected.logits, logits))
    same = sum(int((before.argmax(-1) == after.argmax(-1)).sum()) for before, after in zip(expected.logits, logits))
    tokens = sum(len(before) for before in expected.logits)
    relative = difference / largest if largest else difference
    tolerance = _TOLERANCES.get(stored_dtype, 1e-3)
    return {
        "passed": relative <= tolerance,
        "max_abs_diff": difference,
        "max_rel_diff": relative,
        "tolerance": tolerance,
        "same_greedy_tokens": same == tokens,
        "greedy_agreement": same / tokens,
        "tokens": tokens,
        "adapter_effect": expected.effect,
    }


def _prompts(tokenizer: Any, device: torch.device) -> list[torch.Tensor]:
    renderer = ChatRenderer(tokenizer)
    ids = [tokenizer(prompt)["input_ids"] for prompt in _PROMPTS]
    ids += [renderer.generation_prompt([Turn("user", prompt)]) for prompt in _PROMPTS[:2]]
    return [torch.tensor([row[:_MAX_TOKENS]], device=device) for row in ids if row]


@torch.no_grad()
def _logits(model: Any, prompts: list[torch.Tensor]) -> list[torch.Tensor]:
    return [model(input_ids=prompt, use_cache=False).logits[0].float().cpu() for prompt in prompts]
