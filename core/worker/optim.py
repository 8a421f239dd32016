"""The optimizer and how its learning rate moves."""

from __future__ import annotations

from typing import Any

import torch
from transformers import get_scheduler

from ..api import Method
from ..training import TrainingOptions


def build_optimizer(model: Any, method: Method, method_options: Any, options: TrainingOptions) -> torch.optim.Optimizer:
    """AdamW with decoupled weight decay (https://arxiv.org/abs/1711.05101) over the method's parameter groups."""
    rate = method.learning_rate if options.learning_rate is None else options.learning_rate
    groups = method.parameter_groups(model, method_options, rate, options.weight_decay)
    return torch.optim.AdamW(groups, lr=rate, betas=(options.adam_beta1, options.adam_beta2), eps=options.adam_epsilon, fused=True)


def build_scheduler(optimizer: torch.optim.Optimizer, options: TrainingOptions, total_steps: int) -> torch.optim.lr_scheduler.LRScheduler:
    """Warm-up, then the chosen schedule over ``total_steps``; ``warmup_steps`` below 1 is a share of them."""
    warmup = options.warmup_steps
    warmup_steps = round(warmup * total_steps) if warmup < 1 else round(warmup)
    return get_scheduler(options.lr_scheduler_type, optimizer, num_warmup_steps=warmup_steps, num_training_steps=total_steps)
