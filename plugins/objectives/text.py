"""Plain language modelling: learn every token."""

from __future__ import annotations

from ...core.api import Encoded, Example, Objective, Renderer


class PlainText(Objective):
    """Loss on every token of running text; a conversation is rendered by the chat template and learned as a whole."""

    name = "text"
    title = "Running text"
    summary = "Learns every token of running text."

    def accepts(self, example: Example) -> bool:
        return bool(example.text or example.turns)

    def encode(self, example: Example, renderer: Renderer, *, completion_only: bool) -> Encoded:
        if example.turns:
            return renderer.encode_pieces([(renderer.whole(example.turns), True)])
        return renderer.encode_text(example.text)
