"""The head that a task puts on a base: which modules it is made of, so that every method trains and saves them."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

_CLASSIFIERS = ("score", "classifier", "pre_classifier")

HEAD_MODULES = (*_CLASSIFIERS, "pooler.dense")
"""Ends of the names of the linear layers that a classification head is made of."""


def is_of_head(tensor: str) -> bool:
    """Whether a classifier's tensor belongs to its head: it may be missing from a base's files."""
    return tensor.startswith(tuple(f"{name}." for name in _CLASSIFIERS)) or ".pooler." in tensor


def new_head(model: Any, seed: int) -> None:
    """Give a marked head fresh weights in float32, the same ones whatever the method, the precision and the device.

    Matrices are normal with the deviation that the base was initialised with, biases zero, as transformers does.
    """
    generator = torch.Generator().manual_seed(seed)
    deviation = getattr(model.config, "initializer_range", 0.02)
    for name in head_modules(model):
        for parameter in model.get_submodule(name).parameters():
            values = torch.zeros(parameter.shape)
            if parameter.ndim > 1:
                values.normal_(0.0, deviation, generator=generator)
            parameter.data = values.to(parameter.device)


def mark_head(model: Any, missing: list[str]) -> None:
    """Note on a freshly loaded classifier which modules are its head.

    Args:
        missing: names of tensors that the base's files lack, which are random now (a classifier, BERT's pooler).
    """
    modules = [name for name in _CLASSIFIERS if hasattr(model, name)]
    modules += [name.rpartition(".")[0] for name in missing]
    model.task_head_modules = list(dict.fromkeys(modules))


def last_layer(model: Any) -> tuple[nn.Module, str, nn.Linear]:
    """The layer whose outputs are the classes: the module it lies in, its name there, and itself."""
    name = next(name for name in _CLASSIFIERS if hasattr(model, name))
    layer = getattr(model, name)
    return (model, name, layer) if isinstance(layer, nn.Linear) else (layer, "out_proj", layer.out_proj)


def head_modules(model: Any) -> list[str]:
    """Paths of the modules of the task's head inside the base; empty for causal language models."""
    return list(getattr(model, "task_head_modules", ()))


def train_head(model: Any) -> None:
    """Let the head's parameters train."""
    for name in head_modules(model):
        model.get_submodule(name).requires_grad_(True)
