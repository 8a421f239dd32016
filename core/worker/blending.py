"""Blends: several resident adapters on the base at once, each with a weight that can be changed while it talks.

At every projection on which one of them sits, a blend gives ``base(x) + Σ wᵢ · (adapterᵢ(x) - base(x))``: the base's output and,
by its weight, what each adapter adds to it there. That is a LoRA with its ``scaling`` times ``wᵢ``, several of them summed, so
nothing is approximated (a rank-16 and a rank-4 adapter blend as they are); of DoRA, IA³ and others that are more than a sum it
is the same line through the outputs. What adds to no projection's output cannot be weighed, and `why_not` says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft.tuners.lora import LoraLayer
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

from .peft_support import ADAPTER
from .slots import Slot


def why_not(slot: Slot) -> str:
    """Why an adapter cannot be part of a blend; empty when it can."""
    if slot.wrapper is not None or slot.virtual_tokens:
        return "its virtual tokens stand in front of the prompt and add to no projection's output, so there is nothing to weigh"
    if slot.weights:
        return "it replaces weights of the base with its own instead of adding to what the base computes"
    if slot.hooks:
        return "its parts change what goes into the base's modules and act on one another, so there is no sum to weigh"
    if not all(isinstance(own, BaseTunerLayer) for _, _, _, own in slot.modules):
        return "it brings whole modules of its own (a head, modules_to_save), and there is no half of a module"
    return ""


class BlendedLayer(nn.Module):
    """A projection with the layers of several adapters on it; takes and returns what the projection does."""

    def __init__(self, base: nn.Module) -> None:
        super().__init__()
        self.base_layer = base
        self.layers = nn.ModuleDict()
        self.weights: dict[str, float] = {}
        """By the keys of `layers`; an adapter of weight 0 is left out."""

    @property
    def weight(self) -> Any:
        """The base's, which some models look at."""
        return self.base_layer.weight

    @property
    def bias(self) -> Any:
        """The base's, too."""
        return self.base_layer.bias

    def forward(self, x: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        """The base's output and the weighted additions, summed in the order of the adapters."""
        output = total = self.base_layer(x, *args, **kwargs)
        for key, layer in self.layers.items():
            if self.weights[key]:
                total = total + _addition(layer, x, output, args, kwargs) * self.weights[key]
        return total.to(output.dtype)


def _addition(layer: Any, x: torch.Tensor, output: torch.Tensor, args: tuple[Any, ...], kwargs: dict[str, Any]) -> torch.Tensor:
    """What an adapter's layer adds to the base's ``output`` for ``x``."""
    if not _is_plain_lora(layer):
        return layer(x, *args, **kwargs) - output
    down, up = layer.lora_A[ADAPTER], layer.lora_B[ADAPTER]  # without a second pass through the base
    return up(down(x.to(down.weight.dtype))) * layer.scaling[ADAPTER]


def _is_plain_lora(layer: Any) -> bool:
    """Whether a layer adds ``B(A(x))`` and nothing else: no DoRA or other variant, not on an embedding."""
    return isinstance(layer, LoraLayer) and ADAPTER in layer.lora_A and ADAPTER not in layer.lora_variant


@dataclass
class Blend(Slot):
    """A slot made of others' layers, which it shares with them; its weights can be set while it is switched on.

    Attributes:
        names: of the adapters, in order.
        layers: every place that the blend changes.
    """

    names: tuple[str, ...] = ()
    layers: list[BlendedLayer] = field(default_factory=list)

    def weigh(self, weights: Mapping[str, float]) -> None:
        """Set the weight of each of `names`."""
        keys = {str(number): weights[name] for number, name in enumerate(self.names)}
        for layer in self.layers:
            layer.weights = keys


def make_blend(slots: Mapping[str, Slot]) -> Blend:
    """A blend of adapters of one base, none of which `why_not` speaks against; no slot may be switched on."""
    blend = Blend(Path(), "blend", names=tuple(slots))
    places: dict[tuple[int, str], BlendedLayer] = {}
    for number, slot in enumerate(slots.values()):
        for parent, attribute, base, own in slot.modules:
            assert base is not None
            place = (id(parent), attribute)
            if place not in places:
                places[place] = BlendedLayer(base)
                blend.modules.append((parent, attribute, base, places[place]))
            places[place].layers[str(number)] = own  # names may hold dots, which torch forbids
    blend.layers = list(places.values())
    return blend
