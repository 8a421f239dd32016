"""What an adapter is merged into: the base as stored, or, for one trained on a quantised base, what that base computes with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers.pytorch_utils import Conv1D

from .. import registry
from ..api import Task
from ..catalog.classes import task_of, trained_classes
from ..catalog.manifest import Manifest, read_manifest
from ..options import parse
from .loading import load_base
from .precision import choose


@dataclass(frozen=True)
class BaseRecipe:
    """How to load the base that an adapter was trained on.

    Attributes:
        description: for people: ``the base as stored``, or which quantisation it is dequantised from.
        load_arguments: what its method gives ``from_pretrained``; empty where the base is not quantised.
        dtype: that the weights were rounded to before they were quantised.
        task: what the adapter is for.
        labels: names of its classes, where it classifies.
    """

    description: str
    load_arguments: Mapping[str, Any] = field(default_factory=dict)
    dtype: torch.dtype | None = None
    task: Task = "causal-lm"
    labels: Sequence[str] = ()

    def trained_on(self, path: Path, device: torch.device) -> Any:
        """The base with its 4-bit weights as they were while training, everything else as stored, computing in float32."""
        if not self.load_arguments:
            return self._load(path, torch.float32, device)
        model = self._load(path, self.dtype, device, self.load_arguments)
        for layer in _quantised(model).values():
            layer.compute_dtype = torch.float32
            layer.compute_type_is_set = True  # else bitsandbytes takes the dtype of the first input
        stored = self._load(path, torch.float32, device)
        for name, parameter in model.named_parameters():
            if parameter.is_floating_point():
                parameter.data = stored.get_parameter(name).data
        return model

    def float32(self, path: Path, device: torch.device) -> Any:
        """An ordinary float32 model with the weights that `trained_on` computes with."""
        model = self._load(path, torch.float32, device)
        if not self.load_arguments:
            return model
        from bitsandbytes.functional import dequantize_4bit

        quantised = self._load(path, self.dtype, device, self.load_arguments)
        for name, layer in _quantised(quantised).items():
            weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state).to(device, torch.float32)
            own = model.get_submodule(name)
            own.weight.data = weight.t().contiguous() if isinstance(own, Conv1D) else weight
        return model

    def _load(self, path: Path, dtype: torch.dtype | None, device: torch.device, arguments: Mapping[str, Any] | None = None) -> Any:
        return load_base(path, dtype=dtype, device=device, load_arguments=arguments, task=self.task, labels=self.labels)


def recipe_for(adapter: Path) -> BaseRecipe:
    """The recipe for an adapter folder, by the method that its manifest names.

    An adapter without a manifest says nothing of quantisation and is merged into the base as stored.
    """
    manifest = read_manifest(adapter)
    purpose: dict[str, Any] = {"task": task_of(adapter)}
    if purpose["task"] == "seq-cls":
        purpose["labels"] = trained_classes(adapter)
    if manifest is None or not registry.knows("methods", manifest.method):
        return BaseRecipe("the base as stored", **purpose)
    method = registry.load("methods", manifest.method)
    options = parse(method.options, manifest.method_options, owner=f"method '{manifest.method}'")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    arguments = method.load_arguments(options, device)
    if "quantization_config" not in arguments:
        return BaseRecipe("the base as stored", **purpose)
    kind = arguments["quantization_config"].bnb_4bit_quant_type
    return BaseRecipe(f"the base dequantised from 4 bits ({kind})", arguments, _training_dtype(manifest, device), **purpose)


def _training_dtype(manifest: Manifest, device: torch.device) -> torch.dtype:
    """What the base was rounded to before it was quantised; manifests that do not say so leave it to this machine's habit."""
    recorded = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}.get(manifest.training_precision)
    return recorded or choose(device, manifest.training_options.get("bf16"), manifest.training_options.get("fp16")).dtype


def _quantised(model: nn.Module) -> dict[str, Any]:
    """The 4-bit layers by name, set to expand to float32."""
    from bitsandbytes.nn import Linear4bit

    layers: dict[str, Any] = {name: module for name, module in model.named_modules() if isinstance(module, Linear4bit)}
    for layer in layers.values():
        layer.weight.quant_state.dtype = torch.float32  # expand without a rounding in between
    return layers
