"""Our tuner for PEFT: puts the parts that a `TunerConfig` names into a model, and saves and loads them like any PEFT adapter."""

from __future__ import annotations

from typing import Any

import torch
from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from .body import Body
from .config import TunerConfig
from .context import Context
from .layer import Part, TunedLayer
from .places import find_places
from .planning import plan


class TunerModel(BaseTuner):
    """A model with adapters made of bottlenecks, prefixes, prompts and low-rank updates."""

    prefix = "finetui_"
    tuner_layer_cls = TunedLayer  # pyright: ignore[reportAssignmentType]

    def _prepare_adapter_config(self, peft_config: Any, model_config: dict[str, Any]) -> Any:
        return peft_config

    def _prepare_model(self, peft_config: TunerConfig, model: nn.Module) -> None:
        """Find out what goes where: path of a module to the parts there."""
        self._places = find_places(model)
        self._context = Context(self._places.causal)
        self._plan = plan(peft_config, model, self._places, self._context)

    def _check_target_module_exists(self, peft_config: TunerConfig, key: str) -> bool:  # pyright: ignore[reportIncompatibleMethodOverride]
        return key in self._plan

    def _create_and_replace(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, peft_config: TunerConfig, adapter_name: str, target: nn.Module, target_name: str, parent: nn.Module, current_key: str
    ) -> None:
        layer = TunedLayer.on(target)
        for name, make in self._plan[current_key].items():
            layer.add(adapter_name, name, _moved(make(target), _device(target, self.model)))

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> None:
        """As PEFT does; then hang the part at the body, which may be the model itself and then has no key for PEFT to match."""
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        layer = TunedLayer.on(model.get_submodule(self._places.body))
        layer.add(adapter_name, "body", Body(self._context, self._places))
        layer.set_adapter(self.active_adapters, inference_mode=True)  # it has nothing to train
        self._plan = {}

    def _check_merge_allowed(self) -> None:
        raise ValueError("what these adapters add depends on the input, so no fixed weight of the base equals it")

    def _unload_and_optionally_merge(self, merge: bool = True, **kwargs: Any) -> Any:
        if merge:
            self._check_merge_allowed()
        for module in list(self.model.modules()):
            if isinstance(module, TunedLayer):
                module.remove()
        return super()._unload_and_optionally_merge(merge=False, **kwargs)

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:
        return key.replace(f".finetui_part.{adapter_name}.", ".finetui_part.", 1)

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: TunerConfig,
        adapter_name: str,
        state_dict: dict[str, torch.Tensor],
        unwanted_adapter_names: list[str],
    ) -> dict[str, torch.Tensor]:
        """Every part's tensors; of a network that only helps training, what it computes."""
        tensors = {}
        for path, module in model.named_modules():
            if isinstance(module, TunedLayer):
                for name, part in module.parts(adapter_name).items():
                    key = f"{path}.finetui_part.{adapter_name}.{name}"
                    tensors |= {f"{key}.{inner}": tensor for inner, tensor in part.saved().items()}
        return tensors


def _moved(part: Part, device: torch.device) -> Part:
    return part if any(parameter.is_meta for parameter in part.parameters()) else part.to(device)


def _device(target: nn.Module, model: nn.Module) -> torch.device:
    """Where the parts at ``target`` compute."""
    return next((parameter.device for parameter in target.parameters()), next(model.parameters()).device)
