"""Supervised fine-tuning: learn to give the answers of conversations."""

from __future__ import annotations

from ...core.api import Encoded, Example, Objective, Renderer


class SupervisedFineTuning(Objective):
    """Loss on the assistant's turns, or on every token of the conversation when not ``completion_only``."""

    name = "sft"
    title = "Instruction tuning"
    summary = "Learns the answers of conversations; prompts are shown but carry no loss."

    def accepts(self, example: Example) -> bool:
        return any(turn.role == "assistant" for turn in example.turns)

    def encode(self, example: Example, renderer: Renderer, *, completion_only: bool) -> Encoded:
        pieces = list(renderer.conversation(example.turns)) if completion_only else [(renderer.whole(example.turns), True)]
        return renderer.encode_pieces(pieces)
