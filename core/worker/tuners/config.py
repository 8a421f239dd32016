"""What an adapter of ours consists of: one PEFT configuration that names its parts, each with settings of its own."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, TypeVar

from peft import PeftConfig

from ...catalog.peftfiles import OWN_PARTS
from .peft_type import FINETUI

Part = TypeVar("Part")


@dataclass
class BottleneckConfig:
    """A bottleneck adapter: down-projection, non-linearity, up-projection.

    Attributes:
        variant: ``houlsby`` (behind attention and feed-forward), ``pfeiffer`` (behind the feed-forward) or ``parallel``
            (beside the feed-forward).
        size: width of the bottleneck.
        non_linearity: a name in ``transformers.activations.ACT2FN``.
        scaling: what the adapter's output is multiplied by.
        layers: blocks that get one; none: all.
    """

    variant: str = "houlsby"
    size: int = 64
    non_linearity: str = "gelu"
    scaling: float = 1.0
    dropout: float = 0.0
    layers: list[int] | None = None


@dataclass
class PrefixConfig:
    """Learned keys and values in front of those of the text, in every attention layer.

    Attributes:
        projection: train them as the output of a small network (Li and Liang's reparameterisation). Saved without it.
        projection_size: width of that network's hidden layer.
    """

    num_virtual_tokens: int = 20
    projection: bool = False
    projection_size: int = 512


@dataclass
class PromptConfig:
    """Learned vectors in front of the embedded text.

    Attributes:
        encoder: ``none``, or ``mlp`` or ``lstm``: the network that they are the output of while training. Saved without it.
        start: ``random`` (as the embeddings are initialised), ``vocabulary`` (embeddings of random tokens) or ``tokens``.
        start_tokens: token ids whose embeddings they start as, repeated or cut to length, for ``start`` = ``tokens``.
    """

    num_virtual_tokens: int = 20
    encoder: str = "none"
    encoder_size: int = 128
    encoder_layers: int = 2
    encoder_dropout: float = 0.0
    start: str = "random"
    start_tokens: list[int] | None = None


@dataclass
class LowRankConfig:
    """LoRA on the modules named.

    Attributes:
        target_modules: last parts of the names of linear modules.
    """

    r: int = 8
    lora_alpha: float = 16
    lora_dropout: float = 0.0
    target_modules: list[str] | None = None


@dataclass
class TunerConfig(PeftConfig):
    """Configuration of `model.TunerModel`; ``adapter_config.json`` of everything it saves.

    Attributes:
        gated: a learned gate on each part (UniPELT).
        layer_norms: the blocks' normalisations train too, where ``adapter`` is (Houlsby).
        modules_to_save: paths of modules that train and are saved whole: the task's head.
        requires: for whoever opens the file: what lets PEFT know this type of adapter.
    """

    adapter: BottleneckConfig | None = None
    prefix: PrefixConfig | None = None
    prompt: PromptConfig | None = None
    lora: LowRankConfig | None = None
    gated: bool = False
    layer_norms: bool = False
    modules_to_save: list[str] | None = None
    target_modules: None = None  # PEFT asks every configuration for it; places are found by architecture instead

    requires: str = "import finetui.core.worker.tuners"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = FINETUI
        self.adapter = _read(BottleneckConfig, self.adapter)
        self.prefix = _read(PrefixConfig, self.prefix)
        self.prompt = _read(PromptConfig, self.prompt)
        self.lora = _read(LowRankConfig, self.lora)

    @property
    def part_names(self) -> list[str]:
        """The kinds of parts it has."""
        return [name for name in OWN_PARTS if getattr(self, name) is not None]

    def to_dict(self) -> dict[str, Any]:
        """As it is saved: networks that only help training are left out, as `TunerModel` leaves them out of the weights."""
        values = super().to_dict()
        values["peft_type"] = FINETUI.value
        if self.prefix is not None:
            values["prefix"] = {"num_virtual_tokens": self.prefix.num_virtual_tokens}
        if self.prompt is not None:
            values["prompt"] = {"num_virtual_tokens": self.prompt.num_virtual_tokens}
        return values


def _read(kind: type[Part], value: Part | dict[str, Any] | None) -> Part | None:
    """A part's configuration from JSON; keys of later versions are ignored."""
    if not isinstance(value, dict):
        return value
    known = {field.name for field in fields(kind)}  # pyright: ignore[reportArgumentType]
    return kind(**{key: item for key, item in value.items() if key in known})
