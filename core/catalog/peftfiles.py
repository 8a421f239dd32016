"""PEFT folders, read without PEFT: ``adapter_config.json`` and the header of ``adapter_model.safetensors``."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import CorruptFile, NotFound, UnsafeFile
from ..fsio import read_json
from ..modelspec import ModelSpec, TensorSpec, is_pickle
from ..planner.headers import read_header
from .digest import ADAPTER_FILES, DELTA_FILE, weight_files

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
OWN_TYPE = "FINETUI"
"""PEFT type of the adapters of FineTUI's own tuners (`core.worker.tuners`)."""

OWN_PARTS = ("lora", "prefix", "prompt", "adapter")
"""What one of those may consist of: keys of its configuration."""

_HUNG = r"(?:\.tuned\.finetui_part\.lora)?"
"""Between a projection and its factors, where they are a part of such an adapter."""

_LORA_FACTOR = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+?)" + _HUNG + r"\.lora_(?P<factor>[AB])(?:\.[^.]+)?\.weight$")
_BLOCK = re.compile(r"(?:^|\.)(?P<stack>[^.]+)\.\d+(?:\.|$)")


@dataclass(frozen=True)
class AdapterFiles:
    """What an adapter's files say.

    Attributes:
        config: ``adapter_config.json`` as read; empty for an adapter that is not a PEFT folder.
        tensors: every stored tensor by name.
        size_bytes: of the weight files.
    """

    folder: Path
    config: Mapping[str, Any]
    tensors: Mapping[str, TensorSpec]
    size_bytes: int

    @property
    def peft_type(self) -> str:
        """``LORA``, ``IA3``, …; empty where there is no PEFT configuration."""
        return str(self.config.get("peft_type") or "")

    @property
    def kind(self) -> str:
        """What sort of adapter it is, as a method is called where nothing else says: ``lora``, or its parts, ``prefix+adapter``."""
        if self.peft_type == OWN_TYPE:
            return "+".join(part for part in OWN_PARTS if self.config.get(part) is not None)
        return self.peft_type.lower()

    @property
    def rank(self) -> int | None:
        """``r`` of the configuration."""
        rank = self.config.get("r")
        return rank if isinstance(rank, int) else None

    @property
    def base(self) -> str:
        """``base_model_name_or_path`` of the configuration: a Hub id, a name or a path."""
        return str(self.config.get("base_model_name_or_path") or "")

    @property
    def is_delta(self) -> bool:
        """Whether it holds replacements of the base's own tensors instead of a PEFT adapter."""
        return not self.config

    @property
    def parameters(self) -> int:
        """Elements stored."""
        return sum(tensor.elements for tensor in self.tensors.values())


def is_adapter(folder: Path) -> bool:
    """Whether ``folder`` looks like an adapter, whole or broken."""
    return any((folder / name).is_file() for name in (CONFIG_FILE, *ADAPTER_FILES))


def read_adapter(folder: Path) -> AdapterFiles:
    """Read an adapter's configuration and tensor shapes.

    Raises:
        NotFound: no such folder, no configuration, or no weights.
        UnsafeFile: its weights are a pickle.
        CorruptFile: the configuration is not PEFT's, or a weight file is torn.
    """
    if not folder.is_dir():
        raise NotFound(f"{folder}: no such folder")
    files = weight_files(folder)
    if not files:
        pickles = sorted(path for path in folder.iterdir() if is_pickle(path.name))
        if pickles:
            raise UnsafeFile(f"{pickles[0]} is a pickle, which can run code", f"convert it to {WEIGHTS_FILE} where it was made")
        raise NotFound(f"{folder} has no {WEIGHTS_FILE}", f"an adapter folder holds {CONFIG_FILE} and {WEIGHTS_FILE}, or {DELTA_FILE}")
    tensors = {name: spec for file in files for name, spec in read_header(file).items()}
    return AdapterFiles(folder, _config(folder, files), tensors, sum(file.stat().st_size for file in files))


def _config(folder: Path, files: list[Path]) -> dict[str, Any]:
    path = folder / CONFIG_FILE
    if not path.is_file():
        if files[0].name != WEIGHTS_FILE:
            return {}
        raise NotFound(f"{folder} has no {CONFIG_FILE}", f"PEFT writes it beside {WEIGHTS_FILE}; without it the weights cannot be placed")
    config = read_json(path)
    if not isinstance(config.get("peft_type"), str):
        raise CorruptFile(f"{path}: no peft_type in it", "it must be the configuration that PEFT saved")
    return config


def shape_conflicts(adapter: AdapterFiles, model: ModelSpec) -> list[str]:
    """Where LoRA factors contradict the base's projections, or a delta its tensors, one sentence each; empty when they fit.

    A factor ``lora_A`` is (rank × in_features), ``lora_B`` is (out_features × rank). Module paths are compared from the
    block onwards, because checkpoints and loaded models differ in what stands before it.
    """
    if adapter.is_delta:
        return _delta_conflicts(adapter, model)
    linears = {_from_block(linear.name): linear for linear in model.linears}
    conflicts, targets = [], set()
    for name, tensor in adapter.tensors.items():
        match = _LORA_FACTOR.match(name)
        if match is None or len(tensor.shape) != 2:
            continue
        targets.add(_from_block(match["module"]))
        linear = linears.get(_from_block(match["module"]))
        if linear is None:
            continue
        side = "in_features" if match["factor"] == "A" else "out_features"
        has, needs = tensor.shape[1 if match["factor"] == "A" else 0], getattr(linear, side)
        if has != needs:
            conflicts.append(f"{match['module']}: {side} is {has} in the adapter, {needs} in the base")
    in_blocks = {target for target in targets if _BLOCK.search(target)}
    if not conflicts and in_blocks and linears and in_blocks.isdisjoint(linears):
        conflicts.append(f"the base has none of the adapter's {len(in_blocks)} modules, such as {min(in_blocks)}")
    return conflicts


def _delta_conflicts(adapter: AdapterFiles, model: ModelSpec) -> list[str]:
    """Tensors that the base has in another shape. Those it has not at all are a task's head."""
    return [
        f"{name} is {' × '.join(map(str, tensor.shape))} in the delta, {' × '.join(map(str, model.tensors[name].shape))} in the base"
        for name, tensor in adapter.tensors.items()
        if name in model.tensors and model.tensors[name].shape != tensor.shape
    ]


def _from_block(module: str) -> str:
    """``model.layers.0.mlp.up_proj`` → ``layers.0.mlp.up_proj``; unchanged outside the blocks."""
    block = _BLOCK.search(module)
    return module[block.start("stack") :] if block else module
