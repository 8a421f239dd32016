"""How a part is hung onto a module of the base: the module stays in its place, what goes in and out of it may change."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import nn

ATTRIBUTE = "tuned"
"""Name under which a `TunedLayer` lies inside the module that it hangs on."""


class Part(nn.Module):
    """One part of an adapter at one module: it may change the module's arguments or its output."""

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments that the module is to be called with."""
        return args, kwargs

    def after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        """What the module is to return; the arguments are those that `before` gave."""
        return output

    def saved(self) -> dict[str, torch.Tensor]:
        """The tensors that are saved of this part, by name."""
        return dict(self.named_parameters())


class TunedLayer(nn.Module, BaseTunerLayer):
    """The parts that all adapters have at one module, called through the module's hooks."""

    adapter_layer_names = ("finetui_part",)

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.finetui_part = nn.ModuleDict()
        self._active_adapter = []
        self._module = (module,)  # in a tuple, which torch does not take for a child
        self._handles = [
            module.register_forward_pre_hook(self._before, with_kwargs=True),
            module.register_forward_hook(self._after, with_kwargs=True),
        ]

    @classmethod
    def on(cls, module: nn.Module) -> TunedLayer:
        """The layer that hangs on ``module``; made where there is none."""
        layer = getattr(module, ATTRIBUTE, None)
        if not isinstance(layer, cls):
            layer = cls(module)
            module.add_module(ATTRIBUTE, layer)
        return layer

    def add(self, adapter: str, name: str, part: Part) -> None:
        """Take a further part of an adapter; parts of one adapter act in the order they came in."""
        if adapter not in self.finetui_part:
            self.finetui_part[adapter] = nn.ModuleDict()
        self.parts(adapter)[name] = part

    def parts(self, adapter: str) -> Any:
        """The parts of one adapter by name."""
        return self.finetui_part[adapter] if adapter in self.finetui_part else nn.ModuleDict()

    def remove(self) -> None:
        """Take this layer off its module, which is then as it was."""
        for handle in self._handles:
            handle.remove()
        del self._module[0]._modules[ATTRIBUTE]

    def get_base_layer(self) -> nn.Module:
        """The module that this hangs on."""
        return self._module[0]

    def _move_adapter_to_device_of_base_layer(self, adapter_name: str, device: torch.device | None = None) -> None:
        where = device or next((parameter.device for parameter in self._module[0].parameters()), None)
        if where is not None:
            self.parts(adapter_name).to(where)

    def _active(self) -> Iterator[Part]:
        if self.disable_adapters:
            return
        for adapter in self.active_adapters:
            yield from self.parts(adapter).values()

    def _before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        for part in self._active():
            args, kwargs = part.before(module, args, kwargs)
        return args, kwargs

    def _after(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any], output: Any) -> Any:
        for part in self._active():
            output = part.after(module, args, kwargs, output)
        return output


def main_output(output: Any) -> torch.Tensor:
    """The hidden states that a module returns, alone or first in a tuple."""
    return output[0] if isinstance(output, tuple) else output


def with_main_output(output: Any, hidden: torch.Tensor) -> Any:
    """``output`` with other hidden states."""
    return (hidden, *output[1:]) if isinstance(output, tuple) else hidden


def as_weights(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """``x`` in the precision of a part's weights, unless autocast will choose one anyway."""
    return x if torch.is_autocast_enabled(x.device.type) else x.to(weight.dtype)
