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
    passes = 2.0 + training.gradient_checkpointing
    work = _multiplications(model, footprint, load.loss_tokens / load.tokens, passes)
    work *= (load.attended + footprint.virtual_tokens) / load.attended
    return work + footprint.quantized_parameters * passes * _EXPANDING / load.tokens


def flops_per_token(model: ModelSpec, footprint: Footprint, loss_share: float) -> float:
    """Floating-point operations that training must do for a token: what model FLOPs utilisation counts.

    Two for each weight that a token is multiplied with going forward; two more for the gradient of each output that the backward
    pass goes through, and two for the gradient of each weight that trains: frozen weights have none. What checkpointing computes
    again, what attention does with the tokens of a document, and the expansion of quantised weights are not counted.

    Args:
        loss_share: the share of the tokens that carry loss; only these go through the output head.
    """
    return 2 * _multiplications(model, footprint, loss_share, 2.0)


def _multiplications(model: ModelSpec, footprint: Footprint, loss_share: float, passes: float) -> float:
    """Of a token with weights, forward and backward.

    Args:
        passes: through what the backward pass goes through: 2, or 3 where the forward pass is done again.
    """
    head = model.vocab_size * model.hidden_size * loss_share
    blocks, depth = model.linear_parameters, model.num_hidden_layers
    passed = blocks * (depth - lowest_block(model, footprint)) / depth * footprint.share_of_run
    trained = _trained_weights(model, footprint, head) * footprint.share_of_run
    steered = footprint.virtual_tokens or footprint.own_masks  # virtual tokens and prefixes are read, not multiplied with
    added = 0 if steered else footprint.added_parameters - model.head_parameters
    return blocks + head + passed * (passes - 1) + head + trained + max(0, added) * (passes + 1)


def _trained_weights(model: ModelSpec, footprint: Footprint, head: float) -> float:
    """Multiplications for the gradients of the base's weights: looked-up embeddings need none, the output head as many as it is used."""
    trained = trained_tensors(model, footprint)
    linears = sum(linear.in_features * linear.out_features for linear in model.linears if f"{linear.name}.weight" in trained)
    return linears + head * any(place.part == "output" and place.name in trained for place in places(model))
