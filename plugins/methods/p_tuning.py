"""P-tuning (https://arxiv.org/abs/2103.10385): virtual tokens that a small network computes while training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from ...core.api import ModelSpec, option
from .parts import TunerMethod


@dataclass(frozen=True)
class PTuningOptions:
    """Options of `PTuning`; names as in PEFT's ``PromptEncoderConfig``."""

    num_virtual_tokens: int = option(20, "Length of the prompt.", minimum=1, group="Adapter")
    encoder_reparameterization_type: Literal["LSTM", "MLP"] = option(
        "LSTM", "The network: a bidirectional LSTM below an MLP, or an MLP alone.", group="Adapter"
    )
    encoder_hidden_size: int = option(128, "Width of the network.", minimum=1, group="Adapter")
    encoder_num_layers: int = option(2, "Layers of the LSTM.", minimum=1, group="Adapter", advanced=True)
    encoder_dropout: float = option(0.0, "Dropout between the LSTM's layers.", minimum=0.0, maximum=1.0, group="Adapter", advanced=True)


class PTuning(TunerMethod):
    """As prompt tuning, with a network that ties the virtual tokens to each other; what it computes is saved, not the network."""

    name = "p_tuning"
    title = "P-tuning"
    summary = "Trains virtual tokens through a small network that is dropped afterwards."
    good_for = "When prompt tuning learns unsteadily: a small network makes the virtual tokens and is dropped afterwards."
    reference = "https://arxiv.org/abs/2103.10385"
    options = PTuningOptions
    packs = False
    learning_rate = 1e-3

    def added(self, model: ModelSpec, options: PTuningOptions) -> int:
        """``p h`` and the network's."""
        hidden, width = model.hidden_size, options.encoder_hidden_size
        tokens = options.num_virtual_tokens * hidden
        if options.encoder_reparameterization_type == "MLP":
            return tokens + (hidden + 1) * width + (width + 1) * width + (width + 1) * hidden
        inputs = [hidden, *[2 * width] * (options.encoder_num_layers - 1)]
        lstm = sum(2 * 4 * width * (size + width + 2) for size in inputs)
        return tokens + lstm + (2 * width + 1) * 2 * width + (2 * width + 1) * hidden

    def virtual_tokens(self, options: PTuningOptions) -> int:
        """The prompt's length."""
        return options.num_virtual_tokens

    def parts(self, model: Any, options: PTuningOptions) -> dict[str, Any]:
        """The prompt with its encoder."""
        from ...core.worker.tuners import PromptConfig

        encoder = options.encoder_reparameterization_type.lower()
        config = PromptConfig(
            options.num_virtual_tokens, encoder=encoder, encoder_size=options.encoder_hidden_size,
            encoder_layers=options.encoder_num_layers, encoder_dropout=options.encoder_dropout,
        )  # fmt: skip
        return {"prompt": config}
