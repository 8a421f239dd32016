"""Adapters resident beside one base: each keeps its own modules and weights, and swapping only exchanges references.

PEFT puts an adapter onto a model by replacing modules, our own tuners by hanging some onto others. A `Slot` remembers what was
replaced or added where; to switch it off, the originals are put back and what was added is taken away. So the base without an
adapter is the base as loaded, bit for bit and at full speed; adapters of different kinds can be resident together; and the cost
of a swap does not grow with their number.
"""

from __future__ import annotations

import contextlib
import time
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig
from safetensors import SafetensorError
from torch import nn

from ..catalog.classes import trained_classes
from ..catalog.digest import DELTA_FILE
from ..catalog.peftfiles import CONFIG_FILE, WEIGHTS_FILE, read_adapter
from ..errors import CorruptFile, Incompatible, NotFound, UnsafeFile
from ..modelspec import is_pickle
from .deltas import replacements
from .heads import head_modules, last_layer
from .loading import load_base
from .peft_support import ADAPTER, kind_of, load_adapter
from .tuners import TunerConfig
from .tuners.layer import ATTRIBUTE

_MODEL_CONFIG = "config.json"


Exchange = tuple[nn.Module, str, nn.Module | None, nn.Module]
"""Parent, attribute, the base's module or none, the adapter's module."""


@dataclass
class Slot:
    """One resident adapter, switched off when made.

    Attributes:
        kind: its PEFT type in lower case (``lora``), the parts of one of our own (``prefix+adapter``), ``delta`` for some of a
            model's weights, ``full`` for all of them.
        modules: (parent, attribute, the base's module or none, the adapter's module).
        hooks: (a module's table of hooks, key, the adapter's entry).
        weights: (parameter, the base's tensor, the adapter's tensor).
        wrapper: the PEFT model to run instead of the base, for kinds that prepend virtual tokens.
        virtual_tokens: how many positions it takes from the context.
        labels: names of its classes, in order, where it classifies.
        bytes: memory it takes beside the base.
        seconds: it took to load.
    """

    path: Path
    kind: str
    modules: list[Exchange] = field(default_factory=list)
    hooks: list[tuple[dict[int, Any], int, Any]] = field(default_factory=list)
    weights: list[tuple[nn.Parameter, torch.Tensor, torch.Tensor]] = field(default_factory=list)
    wrapper: Any = None
    virtual_tokens: int = 0
    labels: list[str] = field(default_factory=list)
    bytes: int = 0
    seconds: float = 0.0

    def switch_on(self) -> None:
        """Put the adapter into the base it was made for; no other slot may be on."""
        for parent, attribute, _, own in self.modules:
            parent._modules[attribute] = own
        for table, key, entry in self.hooks:
            table[key] = entry
        for parameter, _, own in self.weights:
            parameter.data = own

    def switch_off(self) -> None:
        """Give the base its own modules and tensors back."""
        for parent, attribute, original, _ in reversed(self.modules):  # a head may have been exchanged twice
            if original is None:
                parent._modules.pop(attribute, None)
            else:
                parent._modules[attribute] = original
        for table, key, _ in self.hooks:
            table.pop(key, None)
        for parameter, original, _ in self.weights:
            parameter.data = original


def load_slot(base: nn.Module, path: Path) -> Slot:
    """Read the adapter in ``path`` into memory, for a base on which no slot is switched on.

    Args:
        path: a PEFT folder, a delta, or an ordinary model folder of the same architecture (a full fine-tune).

    Raises:
        NotFound: the folder holds none of them.
        Incompatible: it does not fit this base; the base is as it was.
        CorruptFile: its weights cannot be read or are incomplete.
    """
    started = time.perf_counter()
    load = next((load for name, load in _KINDS.items() if (path / name).is_file()), None)
    if load is None:
        raise NotFound(f"{path}: none of {', '.join(_KINDS)} is there", "an adapter is a PEFT folder, a delta or a whole model")
    labels = trained_classes(path) if head_modules(base) else []
    with _head_for(base, len(labels)) as exchanged:
        slot = load(base, path)
    slot.modules[:0] = exchanged
    slot.labels = labels
    slot.seconds = time.perf_counter() - started
    return slot


@contextlib.contextmanager
def _head_for(base: nn.Module, classes: int) -> Iterator[list[Exchange]]:
    """Meanwhile the classifier ``base`` has a last layer for so many classes; yields the exchange, if one was needed."""
    if not head_modules(base) or last_layer(base)[2].out_features == classes:
        yield []
        return
    parent, name, layer = last_layer(base)
    own = nn.Linear(layer.in_features, classes, layer.bias is not None, device=layer.weight.device, dtype=layer.weight.dtype)
    parent._modules[name] = own
    try:
        yield [(parent, name, layer, own)]
    finally:
        parent._modules[name] = layer


def _peft_slot(base: nn.Module, path: Path) -> Slot:
    config = read_peft_config(path)
    slot = Slot(path, kind_of(config))
    with _recorded(base, slot, getattr(config, "bias", "none") != "none"):
        wrapper = load_complete(base, path)
    if config.is_prompt_learning:
        slot.wrapper = wrapper
    slot.virtual_tokens = _virtual_tokens(config)
    base_tensors = {tensor.data_ptr() for tensor in base.parameters()}
    own = {tensor.data_ptr(): tensor.nbytes for tensor in _tensors_of(slot, wrapper)}
    slot.bytes = sum(size for pointer, size in own.items() if pointer not in base_tensors)
    return slot


def virtual_tokens(path: Path) -> int:
    """How many positions the adapter in ``path`` takes in front of every text.

    Raises:
        CorruptFile, Incompatible: as `read_peft_config`.
    """
    return _virtual_tokens(read_peft_config(path)) if (path / CONFIG_FILE).is_file() else 0


def _virtual_tokens(config: Any) -> int:
    if config.is_prompt_learning:
        return int(getattr(config, "num_virtual_tokens", 0) or 0)
    return config.prompt.num_virtual_tokens if isinstance(config, TunerConfig) and config.prompt is not None else 0


def read_peft_config(path: Path) -> Any:
    """The configuration of a PEFT folder.

    Raises:
        CorruptFile: it cannot be read.
        Incompatible: an adapter type that the installed PEFT does not know.
    """
    try:
        return PeftConfig.from_pretrained(str(path), local_files_only=True)
    except KeyError as problem:
        raise Incompatible(f"{path}: adapter type {problem} is not known to the installed PEFT", "update peft, or its plugin") from problem
    except (ValueError, TypeError, OSError) as problem:
        raise CorruptFile(f"{path / CONFIG_FILE}: {problem}") from problem


def load_complete(base: nn.Module, path: Path) -> Any:
    """Put an adapter onto ``base`` and make sure that every tensor of it was found in the file.

    Raises:
        CorruptFile: no weights, torn ones, or tensors are missing from them (PEFT only warns and leaves random ones).
        UnsafeFile: only pickled weights.
        Incompatible: it does not fit this base.
    """
    if not (path / WEIGHTS_FILE).is_file():
        pickle = next((file for file in sorted(path.iterdir()) if is_pickle(file.name)), None)
        if pickle is not None:
            raise UnsafeFile(f"{pickle} is a pickle, which can run code when it is read", "have the adapter saved as safetensors")
        raise CorruptFile(f"{path}: no {WEIGHTS_FILE} in it", "fetch or save the adapter again")
    _require_its_modules(base, path)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            wrapper = load_adapter(base, path, ADAPTER)
    except SafetensorError as problem:
        raise CorruptFile(f"{path / WEIGHTS_FILE}: {problem}", "fetch or save the adapter again") from problem
    missing = [str(warning.message) for warning in caught if "missing adapter keys" in str(warning.message)]
    if missing:
        raise CorruptFile(f"{path / WEIGHTS_FILE}: tensors that {CONFIG_FILE} promises are missing", missing[0][:300])
    return wrapper.eval()


def _require_its_modules(base: nn.Module, path: Path) -> None:
    """Refuse one of our own adapters whose parts hang on modules that this base does not have; PEFT refuses its own kinds."""
    names = [name.removeprefix("base_model.model.") for name in read_adapter(path).tensors]
    places = {name.partition(f".{ATTRIBUTE}.")[0] for name in names if f".{ATTRIBUTE}." in name}
    known = {name for name, _ in base.named_modules()}
    if places - known:
        lacking = min(places - known)
        raise Incompatible(f"{path} does not belong to this base model, which has no {lacking}", "`finetui adapters show` names its base")


@contextlib.contextmanager
def _recorded(base: nn.Module, slot: Slot, biases_change: bool) -> Iterator[None]:
    """Note in ``slot`` what the body changes about ``base``, and undo it, whether the body succeeds or not."""
    children = [(module, dict(module._modules)) for module in base.modules()]
    tables = [(table, set(table)) for module in base.modules() for table in _hook_tables(module)]
    tensors = [(parameter, parameter.data) for parameter in base.parameters()]
    trainable = [parameter for parameter in base.parameters() if parameter.requires_grad]
    if biases_change:  # PEFT loads these in place; copies keep the base's own values safe
        for name, parameter in base.named_parameters():
            if name.endswith("bias"):
                parameter.data = parameter.data.clone()
    try:
        yield
    finally:
        for parent, before in children:
            for attribute, own in parent._modules.items():
                original = before.get(attribute)
                if own is not None and own is not original:
                    slot.modules.append((parent, attribute, original, own))
        slot.hooks += [(table, key, entry) for table, known in tables for key, entry in table.items() if key not in known]
        for parameter, original in tensors:
            if parameter.data_ptr() != original.data_ptr():
                slot.weights.append((parameter, original, parameter.data))
        slot.switch_off()
        base.__dict__.pop("peft_config", None)
        for parameter in trainable:
            parameter.requires_grad_(True)


def _hook_tables(module: nn.Module) -> tuple[dict[int, Any], ...]:
    """Where torch keeps a module's hooks, and which of them want keyword arguments."""
    return (
        module._forward_pre_hooks, module._forward_pre_hooks_with_kwargs, module._forward_hooks, module._forward_hooks_with_kwargs,
    )  # fmt: skip


def _tensors_of(slot: Slot, wrapper: nn.Module) -> Iterator[torch.Tensor]:
    for _, _, _, own in slot.modules:
        yield from own.parameters()
        yield from own.buffers()
    for _, _, own in slot.weights:
        yield own
    if slot.wrapper is not None:
        yield from wrapper.parameters()


def _delta_slot(base: nn.Module, path: Path) -> Slot:
    """Some of the base's tensors in full, to be exchanged with them."""
    slot = Slot(path, "delta")
    for parameter, tensor in replacements(base, path):
        slot.weights.append((parameter, parameter.data, tensor.to(parameter.device, parameter.dtype)))
    slot.bytes = sum(own.nbytes for _, _, own in slot.weights)
    return slot


def _weights_slot(base: nn.Module, path: Path) -> Slot:
    """A full fine-tune: its tensors that differ from the base's, to be exchanged with them."""
    tuned = load_base(path, device=next(base.parameters()).device, task="seq-cls" if head_modules(base) else "causal-lm")
    theirs = dict(tuned.named_parameters())
    slot = Slot(path, "full")
    names = [name for name, _ in base.named_parameters()]
    if type(tuned) is not type(base) or set(names) != set(theirs):
        raise Incompatible(f"{path} is a {type(tuned).__name__}, which cannot replace this {type(base).__name__}'s weights")
    for name, parameter in base.named_parameters():
        own = theirs[name].data
        if own.shape != parameter.shape:
            raise Incompatible(f"{path}: {name} is {tuple(own.shape)} there and {tuple(parameter.shape)} in the base")
        if own.dtype != parameter.dtype or not torch.equal(own, parameter.data):
            slot.weights.append((parameter, parameter.data, own))
    slot.bytes = sum(own.nbytes for _, _, own in slot.weights)
    return slot


_KINDS = {CONFIG_FILE: _peft_slot, DELTA_FILE: _delta_slot, _MODEL_CONFIG: _weights_slot}
"""A file that tells what kind of adapter a folder holds → how it is read."""
