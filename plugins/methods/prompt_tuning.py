"""Prompt tuning (https://arxiv.org/abs/2104.08691): learned vectors in front of the embedded text."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...core.api import ModelSpec, Task, option
from .parts import TunerMethod


@dataclass(frozen=True)
class PromptTuningOptions:
    """Options of `PromptTuning`; names as in PEFT's ``PromptTuningConfig``."""

    num_virtual_tokens: int = option(20, "Length of the prompt.", minimum=1, group="Adapter")
    prompt_tuning_init: Literal["SAMPLE_VOCAB", "RANDOM", "TEXT"] = option(
        "SAMPLE_VOCAB", "It starts as embeddings of random tokens, as random numbers, or as a text.", group="Adapter"
    )
    prompt_tuning_init_text: str = option("", "The text it starts as, repeated or cut to the prompt's length.", group="Adapter")


class PromptTuning(TunerMethod):
    """The base stays frozen; a few vectors that are no words stand before every text."""

    name = "prompt_tuning"
    title = "Prompt tuning"
    summary = "Trains a few virtual tokens in front of the text: the smallest adapter."
    good_for = "When one large base serves many tasks at once: the base stays untouched, and a task is a few vectors in front of the text."
    reference = "https://arxiv.org/abs/2104.08691"
    options = PromptTuningOptions
    packs = False
    learning_rate = 3e-2

    def refusal(self, model: ModelSpec, task: Task, options: PromptTuningOptions) -> str:
        """A text to start as that is missing."""
        reason = super().refusal(model, task, options)
        if not reason and options.prompt_tuning_init == "TEXT" and not options.prompt_tuning_init_text.strip():
            return "prompt_tuning_init=TEXT needs a text: --set prompt_tuning_init_text='Classify the topic:'"
        return reason

    def added(self, model: ModelSpec, options: PromptTuningOptions) -> int:
        """``p h``."""
        return options.num_virtual_tokens * model.hidden_size

    def virtual_tokens(self, options: PromptTuningOptions) -> int:
        """The prompt's length."""
        return options.num_virtual_tokens

    def parts(self, model: Any, options: PromptTuningOptions) -> dict[str, Any]:
        """The prompt."""
        from ...core.worker.loading import load_tokenizer
        from ...core.worker.tuners import PromptConfig

        tokens = None
        if options.prompt_tuning_init == "TEXT":
            tokens = load_tokenizer(model.name_or_path)(options.prompt_tuning_init_text, add_special_tokens=False)["input_ids"]
        start = {"SAMPLE_VOCAB": "vocabulary", "RANDOM": "random", "TEXT": "tokens"}[options.prompt_tuning_init]
        return {"prompt": PromptConfig(options.num_virtual_tokens, start=start, start_tokens=tokens)}
