"""Plain language modelling: learn every token."""

from __future__ import annotations

from ...core.api import Example, LossOn, Objective, Rendered, Renderer


class PlainText(Objective):
    """Loss on every token of running text; a conversation is rendered by the chat template and learned as a whole."""

    name = "text"
    title = "Running text"
    summary = "Learns every token of running text."

    def accepts(self, example: Example) -> bool:
        return bool(example.text or example.turns)

    def render(self, example: Example, renderer: Renderer, loss_on: LossOn) -> Rendered:
        if example.turns:
            return Rendered(((renderer.whole(example.turns, example.tools), True),))
        return Rendered(((example.text, True),), "running")
