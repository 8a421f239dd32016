"""How fast a base generates with an adapter on, measured beside the base alone so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from ..api import Encoded
from .batches import IGNORED
from .engine import Engine

ROUNDS = 3
"""Times that base and adapter take turns on every prompt."""

_QUANTILE = 4
"""The time of a token is the lower quartile of all times: what a busy machine adds now and then is left out."""

_PROMPTS = 2
_PROMPT_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Speed:
    """Greedy decoding of one prompt at a time, the reading of the prompt left out.

    Attributes:
        base: tokens a second of the base.
        vs_base: with the adapter on, in units of that; measured in turns with it.
    """

    base: float
    vs_base: float


def prompts_of(rows: Sequence[Encoded]) -> list[list[int]]:
    """The first two prompts among the rows, at most 64 tokens of each: what stands before the answer, or the first half of a text."""
    prompts = []
    for row in rows[:_PROMPTS]:
        answer = next((place for place, label in enumerate(row.labels) if label != IGNORED), len(row.labels))
        if answer > 1:
            prompts.append(row.input_ids[:answer][-_PROMPT_TOKENS:])
        else:
            prompts.append(row.input_ids[: max(1, len(row.input_ids) // 2)][:_PROMPT_TOKENS])
    return prompts


@torch.no_grad()
def measure(engine: Engine, adapter: str | None, prompts: Sequence[Sequence[int]], tokens: int) -> Speed:
    """Generate exactly ``tokens`` (at least 2) tokens after each prompt, greedily, after a warm-up; what was active stays so."""
    active = engine.active
    seconds: dict[str | None, list[float]] = {None: [], adapter: []}
    try:
        for subject in seconds:
            _generate(engine, subject, prompts[0], 2)
        for _ in range(ROUNDS):
            for prompt in prompts:
                for subject, times in seconds.items():
                    times += _generate(engine, subject, prompt, tokens)
    finally:
        engine.activate(active)
    mine, base = (sorted(times)[len(times) // _QUANTILE] for times in (seconds[adapter], seconds[None]))
    return Speed(1 / base, base / mine)


def on_one_scale(speeds: Sequence[Speed]) -> list[float]:
    """Tokens a second of each, as if all had been measured at the same moment: by the median of what the base reached beside them."""
    base = statistics.median(speed.base for speed in speeds)
    return [speed.vs_base * base for speed in speeds]


def _generate(engine: Engine, adapter: str | None, prompt: Sequence[int], tokens: int) -> list[float]:
    """Seconds of every token after the first."""
    engine.activate(adapter)
    settings = GenerationConfig(
        max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, num_beams=1, pad_token_id=engine.tokenizer.pad_token_id
    )
    ids = torch.tensor([list(prompt)], device=engine.device)
    clock = _Clock()
    engine.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings, streamer=clock)
    return [after - before for before, after in pairwise(clock.moments)]


class _Clock(BaseStreamer):
    """Notes when each token comes; handing it over waits for a GPU."""

    def __init__(self) -> None:
        self.moments: list[float] = []
        self._prompt_seen = False

    def put(self, value: torch.Tensor) -> None:
        """Called with the prompt, then with every token."""
        if self._prompt_seen:
            self.moments.append(time.perf_counter())
        self._prompt_seen = True

    def end(self) -> None:
        """Nothing is held back."""
