"""Answers to fixed prompts (or verdicts on them) while a model trains, so that its behaviour can be watched."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..api import Turn
from .classify import encode_text, predict
from .generate import end_tokens
from .precision import Precision
from .rendering import ChatRenderer


@torch.no_grad()
def answers(
    model: Any,
    renderer: ChatRenderer,
    prompts: Sequence[str],
    *,
    max_new_tokens: int,
    precision: Precision,
    system_prompt: str = "",
    continue_text: bool = False,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """Answer each prompt greedily; the model is left as it was.

    Args:
        continue_text: prompts are continued as running text instead of being shown as a user's turn.
        stop: asked before each prompt whether to leave out the rest.
    """
    training = model.training
    model.eval()
    device = next(model.parameters()).device
    system = (Turn("system", system_prompt),) if system_prompt else ()
    ends = end_tokens(renderer.tokenizer, model) if prompts else []
    texts = []
    for prompt in prompts:
        if stop():
            break
        ids = renderer.tokenizer(prompt)["input_ids"] if continue_text else renderer.generation_prompt((*system, Turn("user", prompt)))
        inputs = torch.tensor([ids], device=device)
        with precision.autocast():
            output = model.generate(
                input_ids=inputs, attention_mask=torch.ones_like(inputs), max_new_tokens=max_new_tokens, do_sample=False,
                eos_token_id=ends, pad_token_id=renderer.tokenizer.pad_token_id,
            )  # fmt: skip
        texts.append(renderer.tokenizer.decode(output[0, len(ids) :], skip_special_tokens=True).strip())
    model.train(training)
    return texts


def verdicts(
    model: Any,
    renderer: ChatRenderer,
    prompts: Sequence[str],
    *,
    labels: Sequence[str],
    max_length: int,
    precision: Precision,
    stop: Callable[[], bool] = lambda: False,
) -> list[str]:
    """What a classifier takes each prompt for, as ``label (93 %)``; the model is left as it was."""
    texts = []
    for prompt in prompts:
        if stop():
            break
        label, chance = next(iter(predict(model, encode_text(renderer, prompt, max_length), labels, precision).items()))
        texts.append(f"{label} ({chance:.0%})")
    return texts
