"""Deltas: the tensors of a base that a method changed, in full. They replace the base's own; nothing is added up.

A delta names its tensors as the base's files do, which may differ from the loaded model's names: without the prefix of the
whole model (``h.0…`` for ``transformer.h.0…``), or with BERT's old names of norms. Tensors that the base's files lack (a
task's head) have the model's names.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open

from ..catalog.digest import DELTA_FILE, weight_files
from ..errors import CorruptFile, Incompatible
from ..layers import Layout
from .heads import head_modules
from .tensorfiles import load_tensors, save_tensors


def layout_of(model: Any, task: str) -> Layout:
    """How the weights of a loaded base are placed."""
    shares = task == "causal-lm" and bool(getattr(model.config, "tie_word_embeddings", False))
    return Layout(model.config.num_hidden_layers, shares, frozenset(head_modules(model)))


def stored_name(name: str, prefix: str, stored: Collection[str]) -> str | None:
    """What a parameter of a loaded model is called among the names ``stored``; nothing where none is its own.

    Args:
        prefix: of the body inside the whole model (``base_model_prefix``).
    """
    start = f"{prefix}."
    for candidate in (name, name.removeprefix(start), f"{start}{name}"):
        old = candidate.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta")
        for spelling in (candidate, old):
            if spelling in stored:
                return spelling
    return None


class StoredTensors:
    """The tensors of a model folder, each read from its file when asked for. A context manager."""

    def __init__(self, folder: Path) -> None:
        self._opened = ExitStack()
        files = [self._opened.enter_context(safe_open(file, framework="pt")) for file in weight_files(folder)]
        self._where = {name: file for file in files for name in file.keys()}  # noqa: SIM118 (not a dict)
        self._files = {file.name: list(opened.keys()) for file, opened in zip(weight_files(folder), files)}

    def __enter__(self) -> StoredTensors:
        return self

    def __exit__(self, *_: object) -> None:
        self._opened.close()

    @property
    def names(self) -> Collection[str]:
        """Of all tensors."""
        return self._where.keys()

    def in_file(self, file: Path) -> list[str]:
        """Names of the tensors of one of the folder's files."""
        return self._files[file.name]

    def __getitem__(self, name: str) -> torch.Tensor:
        """One tensor, on the CPU, as stored."""
        return self._where[name].get_tensor(name)


def read_exactly(model: Any) -> None:
    """Give every parameter that trains the value that the base's files have, in float32.

    A base that is loaded in 16 bits from a float32 file has lost digits, which what trains must not start without.
    """
    with StoredTensors(Path(model.name_or_path)) as base:
        for name, parameter in model.named_parameters():
            own = stored_name(name, model.base_model_prefix, base.names) if parameter.requires_grad else None
            if own is None or parameter.dtype == torch.float32:
                continue
            stored = base[own]
            rounded = stored.to(parameter.device, parameter.dtype)
            if rounded.shape == parameter.shape and torch.equal(rounded, parameter.data):  # else a head for other classes
                parameter.data = stored.to(parameter.device, torch.float32)


def save_delta(model: Any, folder: Path) -> None:
    """Write ``delta.safetensors``: every tensor that trained and differs from the base's files, rounded once to the dtype it has there.

    Tensors that the files lack are those of the task's head, in float32. Frozen tensors may differ too, as they were loaded
    in the precision of the computation; that is no change of theirs.

    Raises:
        DiskError: the disk is full.
    """
    changed = {}
    with StoredTensors(Path(model.name_or_path)) as base:
        for name, parameter in model.named_parameters():
            if not parameter.requires_grad:
                continue
            own = stored_name(name, model.base_model_prefix, base.names)
            if own is None:
                changed[name] = parameter.detach().float()
                continue
            before = base[own]
            after = parameter.detach().to("cpu", before.dtype)
            if not torch.equal(after, before):
                changed[own] = after
    save_tensors(folder / DELTA_FILE, changed)


def replacements(model: Any, folder: Path) -> Iterator[tuple[torch.nn.Parameter, torch.Tensor]]:
    """The parameters of a base that the delta in ``folder`` replaces, each with its new tensor.

    Raises:
        CorruptFile: the file is missing or torn.
        Incompatible: the delta has a tensor that the base has not, or not in this shape.
    """
    if not (folder / DELTA_FILE).is_file():
        raise CorruptFile(f"{folder}: no {DELTA_FILE} in it", "fetch or train it again")
    delta = load_tensors(folder / DELTA_FILE)
    found = _match(model, delta)
    for name in delta:
        if name not in found:
            raise Incompatible(
                f"{folder} does not belong to this base model: it has no tensor {name}", "`finetui adapters show` names its base"
            )
        if found[name].shape != delta[name].shape:
            shapes = f"{tuple(delta[name].shape)} in the delta and {tuple(found[name].shape)} in the base"
            raise Incompatible(f"{folder} does not belong to this base model: {name} is {shapes}", "`finetui adapters show` names its base")
    yield from ((found[name], tensor) for name, tensor in delta.items())


def _match(model: Any, delta: Mapping[str, torch.Tensor]) -> dict[str, torch.nn.Parameter]:
    found = {}
    for name, parameter in model.named_parameters():
        own = stored_name(name, model.base_model_prefix, delta.keys())
        if own is not None:
            found[own] = parameter
    return found


@torch.no_grad()
def apply_delta(model: Any, folder: Path) -> Any:
    """Replace the tensors of a base by those of a delta, for good; returns the model.

    Raises:
        CorruptFile, Incompatible: as `replacements`.
    """
    for parameter, tensor in list(replacements(model, folder)):
        parameter.copy_(tensor)
    return model
