"""How fast methods train compared with each other, from the arithmetic that each needs for a token.

Counted are the multiplications of the projections and of the output head: forward, the gradients of what the backward pass must
go through, the gradients of the weights that train, forward once more under checkpointing, and for a quantised base its
expansion. Attention itself, which all share, and the optimizer's step are not.
"""

from __future__ import annotations

from ..api import Footprint, ModelSpec, places
from ..training import TrainingOptions
from .memory import lowest_block, trained_tensors
from .workload import Workload

_EXPANDING = 200
"""Tokens that could be put through a weight in the time in which it is expanded from 4 bits: the right order of magnitude on GPUs."""


def relative_speed(model: ModelSpec, footprint: Footprint, training: TrainingOptions, load: Workload) -> float:
    """Expected tokens a second over those of full fine-tuning with the same training options."""
    full = Footprint(trainable_parameters=model.parameters)
    return work_per_token(model, full, training, load) / work_per_token(model, footprint, training, load)


def work_per_token(model: ModelSpec, footprint: Footprint, training: TrainingOptions, load: Workload) -> float:
    """Multiplications for a token of the data, an optimizer step's share left out."""
    head = model.vocab_size * model.hidden_size * load.loss_tokens / load.tokens
    blocks, depth = model.linear_parameters, model.num_hidden_layers
    passed = blocks * (depth - lowest_block(model, footprint)) / depth * footprint.share_of_run
    trained = _trained_weights(model, footprint, head) * footprint.share_of_run
    steered = footprint.virtual_tokens or footprint.own_masks  # virtual tokens and prefixes are read, not multiplied with
    added = 0 if steered else footprint.added_parameters - model.head_parameters
    passes = 2.0 + training.gradient_checkpointing
    work = blocks + head + passed * (passes - 1) + head + trained + max(0, added) * (passes + 1)
    work *= (load.attended + footprint.virtual_tokens) / load.attended
    return work + footprint.quantized_parameters * passes * _EXPANDING / load.tokens


def _trained_weights(model: ModelSpec, footprint: Footprint, head: float) -> float:
    """Multiplications for the gradients of the base's weights: looked-up embeddings need none, the output head as many as it is used."""
    trained = trained_tensors(model, footprint)
    linears = sum(linear.in_features * linear.out_features for linear in model.linears if f"{linear.name}.weight" in trained)
    return linears + head * any(place.part == "output" and place.name in trained for place in places(model))
