"""What the methods that PEFT implements share: wrapping, saving and loading adapters as ordinary PEFT folders."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import torch
from peft import PeftConfig, PeftModel, get_peft_model, get_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn
from transformers.pytorch_utils import Conv1D

from ..api import Task
from ..catalog.peftfiles import CONFIG_FILE, WEIGHTS_FILE
from ..errors import Incompatible, UsageError, closest
from ..fsio import write_json
from .heads import head_modules
from .tensorfiles import save_tensors
from .tuners import TunerConfig

ADAPTER = "default"
"""Name of the adapter inside a model that trains; it does not appear in saved files."""

_MUTATED_INITS = ("pissa", "olora")
"""Initialisations that change the base's weights: the adapter is saved as the difference to its start."""


def target_modules(model: nn.Module, value: str | list[str]) -> list[str]:
    """The projections an adapter goes on, as ``target_modules`` of PEFT's configs: names that match these modules and no others.

    Only projections inside the numbered blocks are ever meant: a head or BERT's pooler never gets an adapter by accident,
    although its last name may be that of a projection (``dense``).

    Args:
        value: ``auto`` or ``all-linear`` for every projection (fused ones and GPT-2's Conv1D too), or names: a last part
            such as ``q_proj``, or a whole path.

    Raises:
        UsageError: a name matches nothing in the model; the closest ones are suggested.
    """
    paths = block_linears(model)
    if isinstance(value, str):
        return distinctive_names(model, paths)
    for name in value:
        if not any(matches(path, name) for path in paths):
            suffixes = sorted({path.rsplit(".", 1)[-1] for path in paths})
            raise UsageError(f"target_modules: no linear module is called '{name}'", closest(name, suffixes, "module"))
    return distinctive_names(model, [path for path in paths if any(matches(path, name) for name in value)])


def stores_transposed(model: nn.Module) -> bool:
    """Whether the projections hold their weights as (in, out), as GPT-2's ``Conv1D`` does: PEFT's ``fan_in_fan_out``."""
    return any(isinstance(module, Conv1D) for module in model.modules())


def matches(path: str, name: str) -> bool:
    """Whether a module's path is ``name`` or ends with it, as PEFT compares them."""
    return path == name or path.endswith(f".{name}")


def block_linears(model: nn.Module) -> list[str]:
    """Paths of the linear projections inside the numbered blocks, in the model's order (`ModelSpec.linears` by name)."""
    modules = model.named_modules()
    return [name for name, module in modules if isinstance(module, (nn.Linear, Conv1D)) and re.search(r"\.\d+\.", name)]


def distinctive_names(model: nn.Module, paths: Iterable[str]) -> list[str]:
    """The shortest endings of ``paths`` that no other module of ``model`` shares, sorted: a few short names for many modules."""
    wanted = set(paths)
    taken: set[str] = set()
    for name, _ in model.named_modules():
        if name not in wanted:
            taken.update(_endings(name))
    found = {next((ending for ending in _endings(path) if ending not in taken), path) for path in wanted}
    return sorted(found)


def _endings(path: str) -> Iterator[str]:
    """``a.b.c`` → ``c``, ``b.c``, ``a.b.c``."""
    parts = path.split(".")
    for number in range(len(parts) - 1, -1, -1):
        yield ".".join(parts[number:])


def kind_of(config: PeftConfig) -> str:
    """What sort of adapter a configuration describes: ``lora``, or the parts of one of our own, ``prefix+adapter``."""
    if isinstance(config, TunerConfig):
        return "+".join(config.part_names)
    return str(getattr(config.peft_type, "value", config.peft_type)).lower()


def task_arguments(model: nn.Module, task: Task) -> dict[str, Any]:
    """What every ``PeftConfig`` is told of the task: its type, and the head's modules, which train and are saved whole."""
    if task == "causal-lm":
        return {"task_type": "CAUSAL_LM"}
    return {"task_type": "SEQ_CLS", "modules_to_save": head_modules(model)}


def wrap(model: nn.Module, config: PeftConfig) -> PeftModel:
    """Put a fresh adapter onto a loaded base; only the adapter's parameters train, in float32.

    Raises:
        Incompatible: PEFT cannot put this adapter on this architecture.
    """
    model.requires_grad_(False)
    kind = str(getattr(config.peft_type, "value", config.peft_type)).lower()
    try:
        wrapped = get_peft_model(model, config, adapter_name=ADAPTER)  # pyright: ignore[reportArgumentType]
    except (ValueError, TypeError, NotImplementedError, ImportError, RuntimeError, KeyError, AttributeError, AssertionError) as problem:
        reason = str(problem) or type(problem).__name__
        raise Incompatible(f"{kind} does not fit {type(model).__name__}: {reason}") from problem
    if not isinstance(wrapped, PeftModel):
        raise Incompatible(f"{kind} is not a kind of adapter that can be trained here")
    if _mutates_base(config):
        wrapped.initial_adapter = {  # type: ignore[assignment]
            name: tensor.detach().to("cpu", torch.float32, copy=True) for name, tensor in _adapter_tensors(wrapped).items()
        }
    return wrapped


def merge(wrapped: PeftModel) -> Any:
    """Fold the adapter into the base's weights and take it off; the task's head is the one that the adapter brought.

    Some of PEFT's tuners leave that head in its wrapper, under whose names no plain model would find it.

    Raises:
        NotImplementedError, ValueError, AttributeError, RuntimeError: this adapter cannot be merged, as PEFT says it.
    """
    model: Any = wrapped.merge_and_unload(safe_merge=False)  # pyright: ignore[reportCallIssue]
    for name, module in list(model.named_modules()):
        if isinstance(module, ModulesToSaveWrapper):
            parent, _, attribute = name.rpartition(".")
            setattr(model.get_submodule(parent), attribute, module.modules_to_save[ADAPTER])
    return model


def leave_casting_to_autocast(model: nn.Module) -> None:
    """Keep PEFT's layers from converting their inputs to float32, only for autocast to convert them back.

    The model must then run under autocast wherever its base is not float32.
    """
    for module in model.modules():
        if isinstance(module, BaseTunerLayer):
            setattr(module, "cast_input_dtype_enabled", False)  # noqa: B010  (pyright takes attributes of modules for tensors)


def save_adapter(model: PeftModel, folder: Path) -> None:
    """Write ``adapter_config.json`` and ``adapter_model.safetensors`` into ``folder``, without asking the Hub anything.

    An adapter whose start changed the base (PiSSA, OLoRA) is written as an ordinary LoRA of twice the rank for the
    unchanged base: ``B A - B0 A0 = [B, -B0] [A; A0]``.
    """
    config: Any = model.peft_config[ADAPTER]
    tensors = _unshared({name: tensor.detach().to("cpu") for name, tensor in _adapter_tensors(model).items()})
    values = config.to_dict()
    if values.get("eva_config") is not None:  # its start is in the weights now
        values |= {"init_lora_weights": True, "eva_config": None}
    if _mutates_base(config):
        tensors = _as_difference(tensors, model.initial_adapter)  # pyright: ignore[reportArgumentType]
        alphas = 2**0.5 if config.use_rslora else 2
        values["r"], values["lora_alpha"] = 2 * config.r, alphas * config.lora_alpha
        values["rank_pattern"] = {name: 2 * rank for name, rank in config.rank_pattern.items()}
        values["alpha_pattern"] = {name: alphas * alpha for name, alpha in config.alpha_pattern.items()}
        values["init_lora_weights"] = True
    values["inference_mode"] = True
    save_tensors(folder / WEIGHTS_FILE, tensors)
    write_json(folder / CONFIG_FILE, {name: sorted(value) if isinstance(value, set) else value for name, value in values.items()})


def load_adapter(model: nn.Module, folder: Path | str, name: str) -> PeftModel:
    """Put the adapter of a PEFT folder onto a base (or beside the adapters it has) for inference, and make it active.

    Args:
        name: for the adapter inside the model; without dots.

    Raises:
        Incompatible: its shapes or modules are not those of this base.
    """
    try:
        if isinstance(model, PeftModel):
            model.load_adapter(str(folder), adapter_name=name, is_trainable=False, local_files_only=True)
            model.set_adapter(name, inference_mode=True)
            return model
        return PeftModel.from_pretrained(model, str(folder), adapter_name=name, is_trainable=False, local_files_only=True)  # pyright: ignore[reportArgumentType]
    except (ValueError, RuntimeError, TypeError, KeyError) as problem:
        reason = str(problem).splitlines()[0] if str(problem) else type(problem).__name__
        raise Incompatible(f"{folder} does not belong to this base model: {reason}", "`finetui adapters show` names its base") from problem


def _adapter_tensors(model: PeftModel) -> dict[str, torch.Tensor]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*have invalid shape.*")  # an update that AdaLoRA pruned away whole has rank 0
        return get_peft_model_state_dict(model, adapter_name=ADAPTER, save_embedding_layers=False)


def _unshared(tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Copies of what several names share (a projection common to all layers): a safetensors file holds each name's own."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        storage = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone() if storage in seen else tensor
        seen.add(storage)
    return result


def _mutates_base(config: Any) -> bool:
    return str(getattr(config, "init_lora_weights", "")).startswith(_MUTATED_INITS)


def _as_difference(tensors: dict[str, torch.Tensor], start: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    result = {}
    for name, tensor in tensors.items():
        if ".lora_A." in name:
            result[name] = torch.cat([tensor, start[name].to(tensor.dtype)], dim=0)
        elif ".lora_B." in name:
            result[name] = torch.cat([tensor, -start[name].to(tensor.dtype)], dim=1)
        else:  # the task's head, which is saved whole
            result[name] = tensor
    return result
