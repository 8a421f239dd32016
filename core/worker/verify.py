"""Proof that a merged model is base plus adapter, on sample prompts, in three steps that each have a sharp limit:

the sums are right (float32 logits before rounding equal the adapter's on its base), the file is right (the model read back
equals the one in memory), and what rounding to the stored dtype changes, which nobody can avoid, is measured and told.
"""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

import torch

from ..api import Turn
from ..errors import Refused
from .loading import load_base, load_tokenizer
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

SUM_TOLERANCE = 1e-3
"""Largest difference of the float32 sums, as a share of the largest logit."""

FILE_TOLERANCE = 1e-5
"""The same for the model read back; the weights are equal, so only the order of additions can differ."""

Logits = list[torch.Tensor]


class Verification:
    """Made before the merge; then asked `sums`, `rounded` and `written`, in this order.

    Args:
        recipe: how the base was loaded for training.
        base: base folder.
        adapter: adapter folder.
    """

    def __init__(self, recipe: BaseRecipe, base: Path, adapter: Path, device: torch.device) -> None:
        self._device = device
        self._task = recipe.task
        self._prompts = _prompts(load_tokenizer(base), device)
        model = recipe.trained_on(base, device)
        plain = self._logits(model)
        self._expected = self._logits(load_complete(model, adapter))
        self._rounded: Logits = []
        self._sum_error = 0.0
        self._effect = largest_difference(plain, self._expected)
        self._size = max(logits.abs().max().item() for logits in self._expected)

    def sums(self, model: Any) -> None:
        """Check the merged model before its weights are rounded.

        Raises:
            Refused: it does not say what base and adapter say together.
        """
        self._sum_error = largest_difference(self._expected, self._logits(model)) / self._size
        if not self._sum_error <= SUM_TOLERANCE:
            raise Refused(
                f"the merged model is not base plus adapter: logits differ by {self._sum_error:.2%} of their size",
                "nothing was written; use the adapter beside the base instead",
            )

    def rounded(self, model: Any) -> None:
        """Note what the model says with rounded weights: what the file must say. The model computes in float32 afterwards."""
        self._rounded = self._logits(model.float())

    def written(self, folder: Path) -> dict[str, Any]:
        """Read the written model back and check it.

        Returns:
            ``passed``; ``max_abs_diff`` and ``max_rel_diff`` (to the largest logit) between the file and the adapter on its
            base, rounding included; ``sum_rel_diff`` of them before rounding; ``same_greedy_tokens`` at all ``tokens``
            positions, ``greedy_agreement`` as a share; ``adapter_effect``: the largest change of a logit by the adapter.

        Raises:
            Refused: it is not the model that was in memory.
        """
        read = self._logits(load_base(folder, dtype=torch.float32, device=self._device, task=self._task))
        error = largest_difference(self._rounded, read) / self._size
        if not error <= FILE_TOLERANCE:
            raise Refused(
                f"the model read back from disk is not the one that was written: logits differ by {error:.2%} of their size",
                "nothing was kept; check the disk and merge again",
            )
        difference = largest_difference(self._expected, read)
        same = sum(int((a.argmax(-1) == b.argmax(-1)).sum()) for a, b in zip(self._expected, read))
        tokens = sum(len(logits) for logits in read)
        return {
            "passed": True,
            "max_abs_diff": difference,
            "max_rel_diff": difference / self._size,
            "sum_rel_diff": self._sum_error,
            "same_greedy_tokens": same == tokens,
            "greedy_agreement": same / tokens,
            "tokens": tokens,
            "adapter_effect": self._effect,
        }

    @torch.no_grad()
    def _logits(self, model: Any) -> Logits:
        """(tokens, vocabulary) for every prompt, or (1, classes) of a classifier; float32 on the CPU."""
        found = [model(input_ids=prompt).logits for prompt in self._prompts]
        found = [logits.reshape(-1, logits.shape[-1]).float().cpu() for logits in found]
        gc.collect()
        return found


def largest_difference(first: Logits, second: Logits) -> float:
    """The largest absolute difference; not a number where there is one on either side."""
    return torch.stack([(a - b).abs().max() for a, b in zip(first, second)]).max().item()


def _prompts(tokenizer: Any, device: torch.device) -> list[torch.Tensor]:
    renderer = ChatRenderer(tokenizer)
    ids = [tokenizer(prompt)["input_ids"] for prompt in _PROMPTS]
    ids += [renderer.generation_prompt([Turn("user", prompt)]) for prompt in _PROMPTS[:2]]
    return [torch.tensor([row[:_MAX_TOKENS]], device=device) for row in ids if row]
