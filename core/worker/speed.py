"""How fast a base runs with an adapter on, measured in turns with the base alone so that a busy machine slows both."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from transformers import GenerationConfig
from transformers.generation.streamers import BaseStreamer

from ..api import Encoded
from .batches import IGNORED, in_batches
from .engine import Engine

ROUNDS = 6
"""Times that base and adapter take turns."""

_QUANTILE = 4
"""The time that counts is the lower quartile of all times: what a busy machine adds now and then is left out."""

_PROMPTS = 2
_PROMPT_TOKENS = 64
_CLASSIFIED = 8
"""Rows that are classified at a time."""


@dataclass(frozen=True, slots=True)
class Speed:
    """What was measured.

    Attributes:
        base: of the base alone, a second: tokens of greedy decoding, or rows classified.
        vs_base: with the adapter on, in units of that.
    """

    base: float
    vs_base: float


Turn = Callable[[], list[float]]
"""Does the work with what is active, and says how many seconds each unit of it took."""


@torch.no_grad()
def measure(engine: Engine, adapter: str | None, turn: Turn) -> Speed:
    """Let base and adapter take turns, after one that does not count; what was active stays so."""
    active = engine.active
    seconds: dict[str | None, list[float]] = {None: [], adapter: []}
    try:
        for number in range(ROUNDS + 1):
            for subject, times in seconds.items():
                engine.activate(subject)
                spent = turn()
                times += spent if number else []
    finally:
        engine.activate(active)
    mine, base = (sorted(times)[len(times) // _QUANTILE] for times in (seconds[adapter], seconds[None]))
    return Speed(1 / base, base / mine)


def on_one_scale(speeds: Sequence[Speed]) -> list[float]:
    """Units a second of each, as if all had been measured at the same moment: by the median of what the base reached beside them."""
    base = statistics.median(speed.base for speed in speeds)
    return [speed.vs_base * base for speed in speeds]


def generating(engine: Engine, rows: Sequence[Encoded], tokens: int) -> Turn:
    """Generates exactly ``tokens`` (at least 2) tokens after the first prompts among the rows, greedily, one at a time.

    The time of each token after the first counts; reading the prompt does not.
    """
    prompts = prompts_of(rows)
    settings = GenerationConfig(
        max_new_tokens=tokens, min_new_tokens=tokens, do_sample=False, num_beams=1, pad_token_id=engine.tokenizer.pad_token_id
    )

    def turn() -> list[float]:
        times: list[float] = []
        for prompt in prompts:
            ids, clock = torch.tensor([prompt], device=engine.device), _Clock()
            engine.model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), generation_config=settings, streamer=clock)
            times += [after - before for before, after in pairwise(clock.moments)]
        return times

    return turn


def prompts_of(rows: Sequence[Encoded]) -> list[list[int]]:
    """The first two prompts among the rows, at most 64 tokens of each: what stands before the answer, or the first half of a text."""
    prompts = []
    for row in rows[:_PROMPTS]:
        answer = next((place for place, label in enumerate(row.labels) if label != IGNORED), len(row.labels))
        if answer > 1:
            prompts.append(list(row.input_ids[:answer][-_PROMPT_TOKENS:]))
        else:
            prompts.append(list(row.input_ids[: max(1, len(row.input_ids) // 2)][:_PROMPT_TOKENS]))
    return prompts


def classifying(engine: Engine, rows: Sequence[Encoded]) -> Turn:
    """Classifies the first eight rows together."""
    chosen = [rows[number] for number in range(min(_CLASSIFIED, len(rows)))]
    pad_id = engine.base.config.get_text_config().pad_token_id
    batches = list(in_batches(chosen, _CLASSIFIED, packed=False, pad_id=pad_id, device=engine.device))

    def turn() -> list[float]:
        started = time.perf_counter()
        for batch in batches:
            engine.model(input_ids=batch.input_ids, attention_mask=batch.attention_mask).logits.sum().item()
        return [(time.perf_counter() - started) / len(chosen)]

    return turn


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
