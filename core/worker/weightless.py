"""Tensors that have shape, type and device but no contents, and a count of the bytes that they would hold.

Operations on them compute shapes only (on the meta device), yet autocast, autograd, attention kernels and everything else that asks
for the device take the path that they take on the real one. PyTorch's fake tensors do this too, for more purposes and more
slowly: a step of 8 B parameters is some 20,000 operations.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from ..errors import WorkFailed

_META = torch.device("meta")

_CONTENTS = frozenset({"aten::_local_scalar_dense", "aten::nonzero", "aten::equal"})
"""Operations whose answer only contents can give."""


_MIXED = frozenset({"aten::add", "aten::add_", "aten::sub", "aten::sub_", "aten::mul", "aten::mul_", "aten::div", "aten::div_"})


class Weightless(torch.Tensor):
    """A tensor without contents.

    Attributes:
        inner: the tensor on the meta device that stands for it; its storage says how many bytes there would be.
    """

    inner: torch.Tensor
    __torch_function__ = torch._C._disabled_torch_function_impl  # pyright: ignore[reportAssignmentType]

    @staticmethod
    def __new__(cls, inner: torch.Tensor, device: torch.device) -> Weightless:
        made = torch.Tensor._make_wrapper_subclass(  # pyright: ignore[reportAttributeAccessIssue]
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype, device=device
        )
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        raise RuntimeError("tensors without contents are used inside Counting only")


class Counting(TorchDispatchMode):
    """While it is entered, new tensors are weightless, and the bytes of all that are alive are counted.

    Attributes:
        now: bytes alive.
        gradients: of them, those that were claimed as gradients.
        peak: most bytes alive so far.
        gradients_at_peak: bytes of gradients at that moment.
        true_positions: how many elements a boolean index selects, which tensors without contents cannot tell.
        weight_shapes: of the matrices that train.
        answer: to questions about contents with yes or no (whether a mask is all ones).
    """

    def __init__(self, device: torch.device) -> None:
        super().__init__()
        self.device = device
        self.now = self.gradients = self.peak = self.gradients_at_peak = self.true_positions = 0
        self.weight_shapes: set[torch.Size] = set()
        self.answer = False
        self._scores: weakref.ref[torch.Tensor] | None = None
        self._sizes: dict[int, int] = {}
        self._gradients: set[int] = set()
        self._templates: dict[Any, list[tuple[Any, ...]]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name: str = func._schema.name
        if name in _CONTENTS:
            return self._content(name, args[0])
        if name == "aten::index":
            args = (args[0], [place for index in args[1] for place in self._places(index)])
        if name == "aten::add" and self._scores is not None and args[0] is self._scores():
            name = "aten::add_"  # a mask in torch's own attention: added in place, but not to a tensor of a class of our own
        made = self._results(func, name, args, kwargs)
        if name == "aten::_unsafe_view" and made.ndim == 4:  # a product of matrices per row and head, not scaled afterwards
            self._scores = weakref.ref(made)
        if scratch := _scratch_bytes(name, args, self.device):
            self._note_peak(self.now + scratch)
        return made

    def claim_gradient(self, parameter: torch.Tensor) -> None:
        """The gradient that ``parameter`` just got is one, and no activation any more."""
        gradient = parameter.grad
        if isinstance(gradient, Weightless):
            key = gradient.inner.untyped_storage()._cdata
            if key not in self._gradients:
                self._gradients.add(key)
                self.gradients += self._sizes[key]

    def _results(self, func: Any, name: str, args: Any, kwargs: Any) -> Any:
        """What an operation gives back, without contents."""
        if name.endswith("_") and args and isinstance(args[0], Weightless):
            return args[0]  # in place: nothing new
        if name == "aten::add" and args[0].shape in self.weight_shapes and getattr(args[1], "shape", None) == args[0].shape:
            return self._new(args[0].inner.detach())  # gradients of a weight that is used twice; autograd adds them in place
        key = (func, _key(args), _key(kwargs))
        templates = self._templates.get(key)
        if templates is None:
            return self._compute(func, args, kwargs or {}, key)
        made = [self._new(torch.empty_strided(shape, stride, dtype=dtype, device=_META)) for shape, stride, dtype in templates]
        return made[0] if len(made) == 1 else tuple(made)

    def _compute(self, func: Any, args: Any, kwargs: dict[str, Any], key: Any) -> Any:
        """Run an operation on the meta device; one whose results are all new is remembered by its arguments' shapes."""
        given: dict[int, torch.Tensor] = {}
        inner_args = [_inner(value, given) for value in args]
        inner_kwargs = {name: _inner(value, given) for name, value in kwargs.items()}
        if not given or kwargs.get("device") is not None:
            inner_kwargs["device"] = _META
        result = func(*inner_args, **inner_kwargs)
        if func._schema.name == "aten::mkldnn_rnn_layer":
            result = (*result[:3], torch.empty(_workspace_bytes(func, inner_args), dtype=torch.uint8, device=_META))
        values = result if isinstance(result, (list, tuple)) else [result]
        storages = {tensor.untyped_storage()._cdata for tensor in given.values() if not isinstance(tensor, Weightless)}
        storages |= {tensor.inner.untyped_storage()._cdata for tensor in given.values() if isinstance(tensor, Weightless)}
        if isinstance(result, (tuple, torch.Tensor)) and all(_is_new(value, storages) for value in values):
            self._templates[key] = [(value.shape, value.stride(), value.dtype) for value in values]
        outer = [self._outer(value, given) for value in values]
        return type(result)(outer) if isinstance(result, (list, tuple)) else outer[0]

    def _outer(self, value: Any, given: dict[int, torch.Tensor]) -> Any:
        """A result for the caller: what the operation was given comes back as it was."""
        if not isinstance(value, torch.Tensor):
            return value
        return given[id(value)] if id(value) in given else self._new(value)

    def _content(self, name: str, tensor: torch.Tensor) -> bool:
        if name == "aten::_local_scalar_dense" and tensor.dtype == torch.bool:
            return self.answer
        raise WorkFailed(f"a dry run cannot do {name}: it needs what is in a tensor")

    def _new(self, inner: torch.Tensor) -> Weightless:
        storage = inner.untyped_storage()
        key = storage._cdata
        if key not in self._sizes:
            self._sizes[key] = size = storage.nbytes()
            self.now += size
            self._note_peak(self.now)
            weakref.finalize(storage, self._gone, key)
        return Weightless(inner, self.device)

    def _note_peak(self, size: int) -> None:
        if size > self.peak:
            self.peak, self.gradients_at_peak = size, self.gradients

    def _gone(self, key: int) -> None:
        size = self._sizes.pop(key)
        self.now -= size
        if key in self._gradients:
            self._gradients.discard(key)
            self.gradients -= size

    def _places(self, index: torch.Tensor | None) -> list[torch.Tensor | None]:
        """A boolean index as the whole numbers it stands for."""
        if index is None or index.dtype != torch.bool:
            return [index]
        return [torch.empty(self.true_positions, dtype=torch.int64, device=_META) for _ in range(index.ndim)]


def _inner(value: Any, given: dict[int, torch.Tensor]) -> Any:
    """Tensors among an operation's arguments as those that stand for them on the meta device; notes which those are."""
    if isinstance(value, Weightless):
        given[id(value.inner)] = value
        return value.inner
    if isinstance(value, torch.Tensor):
        inner = value.to(_META)
        given[id(inner)] = value
        return inner
    if isinstance(value, (list, tuple)):
        return [_inner(item, given) for item in value]
    return value


def _is_new(value: Any, storages: set[int]) -> bool:
    return isinstance(value, torch.Tensor) and value.untyped_storage()._cdata not in storages


def _key(value: Any) -> Any:
    """What decides the shape of an operation's result."""
    if isinstance(value, torch.Tensor):
        return value.shape, value.stride(), value.dtype
    if isinstance(value, (list, tuple)):
        return tuple([_key(item) for item in value])
    if isinstance(value, dict):
        return tuple([(name, _key(item)) for name, item in value.items()])
    return value.__class__, value


def _workspace_bytes(recurrent_layer: Any, args: Sequence[Any]) -> int:
    """What a recurrent layer on the CPU keeps for its backward pass. Only the library knows, so the layer runs, on zeros."""
    zeros = [torch.zeros(value.shape, dtype=value.dtype) if isinstance(value, torch.Tensor) else value for value in args]
    return recurrent_layer(*zeros)[3].numel()


def _scratch_bytes(name: str, args: Any, device: torch.device) -> int:
    """Bytes that a kernel allocates for itself and frees before it returns, where they are as large as its arguments."""
    if name == "aten::logsumexp":
        return args[0].numel() * args[0].itemsize
    if name == "aten::mkldnn_rnn_layer_backward":  # in the library's own layout: the inputs' weight, and the gradients of both weights
        return (2 * args[1].numel() + args[2].numel()) * args[1].itemsize
    if name == "aten::_scaled_dot_product_flash_attention_for_cpu_backward":
        return _attention_blocks_bytes(*args[1:3])
    if name in _MIXED and device.type == "cpu" and len(args) > 1 and isinstance(args[1], torch.Tensor) and args[1].ndim:
        first, second = args[0], args[1]
        if first.dtype != second.dtype:  # one is converted to the other's type before
            wide, narrow_first = max(first.itemsize, second.itemsize), first.itemsize < second.itemsize
            copies = 2 if narrow_first and name.endswith("_") else 1  # in place the result is made apart
            return copies * wide * (first if narrow_first else second).numel()
    return 0


def _attention_blocks_bytes(query: torch.Tensor, key: torch.Tensor) -> int:
    """What the backward pass of attention on the CPU holds: each thread has a block of the scores and one of their gradients.

    The blocks are those of torch's ``cpu_flash_attention_backward``: up to 512 keys wide, their height grows with the queries;
    in float32, and once more in the queries' type where that is narrower.
    """
    queries, keys = query.shape[-2], min(key.shape[-2], 512)
    height = min(queries, 256 if queries >= 768 else 64 if queries >= 192 else 32)
    each = 4 if query.itemsize == 4 else 4 + query.itemsize
    return torch.get_num_threads() * 2 * height * keys * each
