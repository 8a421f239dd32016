"""Where parts of adapters go in a model: its blocks, and in each the attention, the feed-forward and what lies around them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import nn

from ...modelspec import ENCODERS
from ...planner.architectures import read_sizes, text_config

_ATTENTION = ("self_attn", "self_attention", "attn", "attention.self")
_FEED_FORWARD = ("mlp", "output")
_POSITIONS = ("wpe", "embeddings.position_embeddings")


@dataclass(frozen=True)
class Block:
    """Paths inside the model.

    Attributes:
        attention: the module that is given keys and values.
        after_attention: its result before the residual is added.
        feed_forward: pre-norm: the module from normalised input to result; BERT: the module that ends it and adds the residual.
        after_feed_forward: its result before the residual is added.
    """

    path: str
    attention: str
    after_attention: str
    feed_forward: str
    after_feed_forward: str


@dataclass(frozen=True)
class Places:
    """A model's places.

    Attributes:
        body: path of the model without its head; empty where it has none.
        causal: reads from left to right only.
        embedding: path of the table of tokens.
        embeddings: path inside the body of an encoder's whole embedding; empty in causal models.
        positions: path of the table of learned positions; empty where there is none.
        key_sizes: (heads, head size) of keys and values.
    """

    body: str
    causal: bool
    blocks: tuple[Block, ...]
    embedding: str
    embeddings: str
    positions: str
    hidden: int
    key_sizes: tuple[int, int]


def find_places(model: Any) -> Places:
    """The places of a transformers model.

    Raises:
        ValueError: its blocks are not built like those of any family known here.
    """
    prefix = getattr(model, "base_model_prefix", "")
    body_path = prefix if prefix and hasattr(model, prefix) else ""
    body = model.get_submodule(body_path)
    config = model.config.to_dict()
    model_type = str(config.get("model_type", ""))
    sizes = read_sizes(text_config(config), model_type)
    causal = model_type not in ENCODERS
    names = {id(module): name for name, module in model.named_modules()}
    blocks = next((part for part in body.modules() if isinstance(part, nn.ModuleList) and len(part) == sizes.layers), None)
    if blocks is None:
        raise ValueError(f"{type(model).__name__} has no list of {sizes.layers} blocks")
    positions = next((path for path in _POSITIONS if _has(body, path)), "")
    return Places(
        body=body_path, causal=causal, blocks=tuple(_block(block, names[id(block)], causal) for block in blocks),
        embedding=names[id(model.get_input_embeddings())], embeddings="" if causal else "embeddings",
        positions=f"{body_path}.{positions}".lstrip(".") if positions else "", hidden=sizes.hidden,
        key_sizes=(sizes.kv_heads, sizes.head_dim),
    )  # fmt: skip


def _block(block: nn.Module, path: str, causal: bool) -> Block:
    attention = next((name for name in _ATTENTION if _has(block, name)), None)
    feed_forward = next((name for name in _FEED_FORWARD if _has(block, name)), None)
    if attention is None or feed_forward is None:
        raise ValueError(f"{type(block).__name__} has no attention or feed-forward module by a name that is known here")
    after = (attention, feed_forward) if causal else ("attention.output.dropout", "output.dropout")
    return Block(path, f"{path}.{attention}", f"{path}.{after[0]}", f"{path}.{feed_forward}", f"{path}.{after[1]}")


def _has(module: nn.Module, path: str) -> bool:
    try:
        module.get_submodule(path)
    except AttributeError:
        return False
    return True
