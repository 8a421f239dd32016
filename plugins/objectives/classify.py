"""Classification: learn which of a few labels a text has."""

from __future__ import annotations

from ...core.api import Example, LossOn, Objective, Rendered, Renderer


class Classify(Objective):
    """Loss on the label of a whole text; its tokens are shown and none of them is predicted."""

    name = "classify"
    title = "Classification"
    summary = "Learns the label of each text."
    task = "seq-cls"

    def accepts(self, example: Example) -> bool:
        return example.label is not None

    def render(self, example: Example, renderer: Renderer, loss_on: LossOn) -> Rendered:
        return Rendered(((example.text, False),), "sequence")
