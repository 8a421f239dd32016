"""Training the upper part of a model: its last blocks, the final norm and the head."""

from __future__ import annotations

from dataclasses import dataclass

from ...core.api import DeltaMethod, ModelSpec, Place, Task, option


@dataclass(frozen=True)
class TopLayersOptions:
    """Options of `TopLayers`."""

    num_layers: int = option(2, "How many of the last blocks train; 0: the head alone.", minimum=0, group="Method")
    train_head: bool = option(
        True, "Train a language model's output head too; where it shares the embeddings' matrix, that matrix trains.", group="Method"
    )


class TopLayers(DeltaMethod):
    """The last ``num_layers`` blocks train, with all that stands above them; what is below stays as it is.

    With 0 blocks the head trains alone, the final norm frozen: a linear probe. An output head that is the embeddings'
    matrix cannot train without it; ``train_head=false`` leaves both alone.
    """

    name = "top_layers"
    title = "Top layers"
    summary = "Trains the last blocks and the head; the rest of the base stays frozen."
    good_for = (
        "When the new task is close to what the base can do already, and training must be fast: nothing below the top blocks is touched."
    )
    suits_most = True
    options = TopLayersOptions

    def refusal(self, model: ModelSpec, task: Task, options: TopLayersOptions) -> str:
        """More blocks than there are."""
        if options.num_layers > model.num_hidden_layers:
            return f"num_layers is {options.num_layers}, but it has {model.num_hidden_layers} blocks; all of it is trained by full"
        return super().refusal(model, task, options)

    def trains(self, place: Place, options: TopLayersOptions) -> bool:
        """The output head where it is wanted; with blocks, these and what is above them."""
        if place.part == "output":
            return options.train_head
        return options.num_layers > 0 and place.depth <= options.num_layers
