"""From a base that a method was applied to, to the model that trains: what the training job and the dry run do alike."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from ..api import Method
from ..dropout import dropout_settings
from ..training import TrainingOptions
from .peft_support import leave_casting_to_autocast


def load_arguments(
    method: Method, method_options: Any, options: TrainingOptions, config: Mapping[str, Any], device: torch.device
) -> dict[str, Any]:
    """What ``from_pretrained`` is told: the method's part (quantisation), and the dropout that training asks for.

    Args:
        config: the base's ``config.json``.

    Raises:
        Incompatible: dropout is asked for and the architecture has none.
    """
    return {**method.load_arguments(method_options, device), **dropout_settings(config, options.dropout)}


def make_ready(model: Any, base: Any, options: TrainingOptions) -> None:
    """Hold what trains in float32, leave casting to autocast, and checkpoint blocks where that is asked for.

    Where weights of the base itself train, all norms are held in float32: on CPUs a norm takes neither a weight and a bias of two
    types nor 16-bit weights for the float32 states that come from trained embeddings. (Master copies make all of it 16-bit again.)

    Args:
        model: what the method's `prepare` made of ``base``.
    """
    norms = model is base and options.master_copy == "none"
    for parameter in model.parameters():
        if parameter.requires_grad or (norms and parameter.ndim == 1):
            parameter.data = parameter.data.float()
    leave_casting_to_autocast(model)
    if options.gradient_checkpointing:
        base.activation_checkpointing_enable(activation_checkpointing_kwargs={"use_reentrant": False})
