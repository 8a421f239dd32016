"""Supervised fine-tuning: learn to give the answers of conversations."""

from __future__ import annotations

from ...core.api import Example, LossOn, Objective, Rendered, Renderer


class SupervisedFineTuning(Objective):
    """Loss on the assistant's turns, calls of tools included; on the last of them only; or on the whole conversation."""

    name = "sft"
    title = "Instruction tuning"
    summary = "Learns the answers of conversations; prompts are shown but carry no loss."

    def accepts(self, example: Example) -> bool:
        return any(turn.role == "assistant" for turn in example.turns)

    def render(self, example: Example, renderer: Renderer, loss_on: LossOn) -> Rendered:
        if loss_on == "all":
            return Rendered(((renderer.whole(example.turns, example.tools), True),))
        return Rendered(tuple(renderer.conversation(example.turns, example.tools, last_only=loss_on == "last")))
