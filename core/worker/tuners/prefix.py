"""Keys and values in front of those of the text, through a view of the attention module's cache.

Every attention module of transformers asks a cache for its keys and values where it is given one. Here it always is: a view of the
true cache (or of none) that answers with the prefix in front. So the module itself, its cache and the positions of the text stay
as they are, gradient checkpointing works, and the prefix costs no tokens.

Papers: Li and Liang 2021 (https://arxiv.org/abs/2101.00190), Liu et al. 2021 (P-Tuning v2, https://arxiv.org/abs/2110.07602).
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import torch
from torch import nn
from torch.nn.functional import pad

from .config import PrefixConfig
from .context import Context, past_length
from .gates import Gate
from .layer import Part

KeysAndValues = tuple[torch.Tensor, torch.Tensor]


class CacheView:
    """A key-value cache seen with a prefix in front, which the cache itself never holds.

    Args:
        cache: the true one, or none.
        keys, values: (heads, virtual tokens, head size), or with a leading dimension for rows; heads may be grouped.
    """

    def __init__(self, cache: Any, keys: torch.Tensor, values: torch.Tensor) -> None:
        self._cache, self._keys, self._values = cache, keys, values

    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> KeysAndValues:
        """What `transformers.Cache.update` gives, the prefix before it: (rows, heads, virtual tokens + tokens, head size)."""
        if self._cache is not None:
            keys, values = self._cache.update(keys, values, *args, **kwargs)
        return _in_front(self._keys, keys), _in_front(self._values, values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cache, name)


def _in_front(prefix: torch.Tensor, states: torch.Tensor) -> torch.Tensor:
    prefix = prefix.to(states.dtype)
    if prefix.dim() == 3:
        prefix = prefix[None]
    if prefix.shape[1] != states.shape[1]:  # Falcon 40b spreads grouped keys over all heads before it asks the cache
        prefix = prefix.repeat_interleave(states.shape[1] // prefix.shape[1], dim=1)
    return torch.cat([prefix.expand(states.shape[0], -1, -1, -1), states], dim=2)


class Recorder:
    """Notes a layer's keys and values, (heads, tokens, head size), while one row runs through a model without a cache."""

    def __init__(self, into: dict[int, KeysAndValues], layer: int) -> None:
        self._into, self._layer = into, layer

    def update(self, keys: torch.Tensor, values: torch.Tensor, *args: Any, **kwargs: Any) -> KeysAndValues:
        """Unchanged."""
        self._into[self._layer] = (keys[0], values[0])
        return keys, values


class InFront(Part):
    """What all parts at attention modules share: the arguments of a module that sees a prefix.

    Args:
        layer: number of the block.
    """

    def __init__(self, module: nn.Module, context: Context, layer: int) -> None:
        super().__init__()
        names = inspect.signature(module.forward).parameters
        self._cache_name = "layer_past" if "layer_past" in names else "past_key_values"
        self._context, self._layer = context, layer

    def keys_and_values(self) -> KeysAndValues:
        """The prefix: (heads, virtual tokens, head size) each."""
        raise NotImplementedError

    def gate_logarithm(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """Added to the scores of the prefix token by token (rows, tokens, 1), or nothing."""
        return None

    def before(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments with the view for a cache and a mask that covers the prefix."""
        context = self._context
        if context.recording is not None:
            return args, {**kwargs, self._cache_name: Recorder(context.recording, self._layer)}
        if context.inside:
            return args, kwargs
        hidden = args[0] if args else kwargs["hidden_states"]
        keys, values = self.scaled(hidden, *self.keys_and_values())
        cache, count = kwargs.get(self._cache_name), keys.shape[-2]
        mask = kwargs.get("attention_mask")
        if mask is None and getattr(module, "is_causal", False) and hidden.shape[1] > 1:
            columns = _columns(cache, hidden.shape[1], self._layer)
            mask = _causal_mask(hidden.shape[1], columns, past_length(cache, self._layer), hidden.device)
        changed = {self._cache_name: CacheView(cache, keys, values), "attention_mask": _widened(mask, count)}
        if kwargs.get("alibi") is not None:
            changed |= _with_alibi(kwargs["alibi"], changed["attention_mask"], count, keys.shape[-1])
        logarithm = self.gate_logarithm(hidden)
        if logarithm is not None:
            length = count + _columns(cache, hidden.shape[1], self._layer)
            changed["attention_mask"] = _gated(changed["attention_mask"], logarithm, count, length, hidden.dtype)
        return args, {**kwargs, **changed}

    def scaled(self, hidden: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> KeysAndValues:
        """The prefix as a row of ``hidden`` sees it."""
        return keys, values


class Prefix(InFront):
    """A prefix of its own for every layer.

    Shapes: keys and values (heads, virtual tokens, head size); with a projection they are computed (`Projection`).

    Args:
        sizes: (heads, head size) of the keys.
        gate: how much of the prefix each token (in encoders: each row) sees.
    """

    def __init__(
        self, module: nn.Module, context: Context, layer: int, sizes: tuple[int, int], config: PrefixConfig, gate: Gate | None = None
    ) -> None:
        super().__init__(module, context, layer)
        self.gate = gate
        if not config.projection:
            heads, head_size = sizes
            self.keys = nn.Parameter(torch.randn(heads, config.num_virtual_tokens, head_size))
            self.values = nn.Parameter(torch.randn(heads, config.num_virtual_tokens, head_size))
        self._projected = config.projection

    def keys_and_values(self) -> KeysAndValues:
        """The parameters, or what the projection gave for this forward pass."""
        return self._context.prefixes[self._layer] if self._projected else (self.keys, self.values)

    def saved(self) -> dict[str, torch.Tensor]:
        """Keys and values, as a projection computes them too."""
        saved = super().saved()
        if self._projected and self._context.projection is not None:
            keys, values = self._context.projection.prefixes()[self._layer]
            saved |= {"keys": keys.contiguous(), "values": values.contiguous()}
        return saved

    def scaled(self, hidden: torch.Tensor, keys: torch.Tensor, values: torch.Tensor) -> KeysAndValues:
        """In encoders the gate scales the prefix row by row, as in UniPELT's paper."""
        if self.gate is None or self._context.causal:
            return keys, values
        gate = self.gate(hidden)[:, :, :, None]
        return keys * gate, values * gate

    def gate_logarithm(self, hidden: torch.Tensor) -> torch.Tensor | None:
        """In causal models the gate multiplies the weight that a token's attention gives to the prefix."""
        return self.gate.logarithm(hidden) if self.gate is not None and self._context.causal else None


class Projection(Part):
    """Li and Liang's reparameterisation: all layers' prefixes as the output of one small network, for training only.

    Shapes: embedding (virtual tokens, hidden), inner (size, hidden), outer (layers · 2 · heads · head size, size).
    """

    def __init__(self, hidden: int, layers: int, sizes: tuple[int, int], config: PrefixConfig) -> None:
        super().__init__()
        heads, head_size = sizes
        self.embedding = nn.Parameter(torch.randn(config.num_virtual_tokens, hidden))
        self.inner = nn.Linear(hidden, config.projection_size)
        self.outer = nn.Linear(config.projection_size, layers * 2 * heads * head_size)
        self._shape = (config.num_virtual_tokens, layers, 2, heads, head_size)

    def prefixes(self) -> list[KeysAndValues]:
        """Keys and values of every layer, (heads, virtual tokens, head size) each."""
        states = self.outer(torch.tanh(self.inner(self.embedding))).view(self._shape)
        return [(keys, values) for keys, values in states.permute(1, 2, 3, 0, 4)]

    def saved(self) -> dict[str, torch.Tensor]:
        """Nothing: what it computes is saved as the layers' own."""
        return {}


def _columns(cache: Any, tokens: int, layer: int) -> int:
    """How many keys a cache will answer with: a static one with all it has room for."""
    return tokens if cache is None else int(cache.get_mask_sizes(tokens, layer)[0])


def _causal_mask(tokens: int, columns: int, past: int, device: torch.device) -> torch.Tensor:
    """What a causal module without a mask means, (1, 1, tokens, columns): torch would align it with the prefix."""
    return torch.ones(tokens, columns, dtype=torch.bool, device=device).tril(past)[None, None]


def _widened(mask: torch.Tensor | None, count: int) -> torch.Tensor | None:
    """The mask with ``count`` columns in front that everybody may look at."""
    if mask is None:
        return None
    return pad(mask, (count, 0), value=0.0 if mask.is_floating_point() else 1)


def _with_alibi(alibi: torch.Tensor, mask: torch.Tensor, count: int, head_size: int) -> dict[str, torch.Tensor]:
    """Falcon's biases for a prefix that lies directly before the text: those of the positions -count … -1.

    ``alibi`` is (rows, heads, 1, columns); the mask that comes with it holds it already, divided by the root of the head size.
    """
    from transformers.models.falcon.modeling_falcon import build_alibi_tensor

    heads = alibi.shape[1]
    slopes = build_alibi_tensor(torch.ones(1, 2, device=alibi.device), heads, alibi.dtype)[:, 0, 1]
    biases = slopes[None, :, None, None] * torch.arange(-count, 0, device=alibi.device, dtype=alibi.dtype)
    rows, _, tokens, _ = mask.shape
    left = (biases / math.sqrt(head_size)).expand(rows, heads, tokens, count)
    wide = torch.cat([left.to(mask.dtype), mask[..., count:].expand(rows, heads, -1, -1)], dim=-1)
    return {"alibi": torch.cat([biases.expand(alibi.shape[0], -1, -1, -1), alibi], dim=-1), "attention_mask": wide}


def _gated(mask: torch.Tensor | None, logarithm: torch.Tensor, count: int, length: int, dtype: torch.dtype) -> torch.Tensor:
    """The mask as additive scores, those of the prefix raised by ``logarithm`` (rows, tokens, 1)."""
    rows, tokens, _ = logarithm.shape
    if mask is None:
        mask = torch.ones(rows, 1, tokens, length, dtype=torch.bool, device=logarithm.device)
    if not mask.is_floating_point():
        blocked = torch.full((), torch.finfo(dtype).min, dtype=dtype, device=mask.device)
        mask = torch.where(mask.bool(), torch.zeros((), dtype=dtype, device=mask.device), blocked)
    left = mask[..., :count] + logarithm[:, None].to(mask.dtype)
    return torch.cat([left, mask[..., count:].expand(left.shape[0], -1, -1, -1)], dim=-1)
