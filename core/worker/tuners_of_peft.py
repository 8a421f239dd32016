"""The tuners that the installed PEFT registers: what options they have, how they are made, how much they train."""

from __future__ import annotations

import dataclasses
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import torch
from peft import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING
from peft.utils import PeftType
from torch import nn

from ..api import FineTUIError, Incompatible, NotFound, Task
from .heads import mark_head
from .peft_support import distinctive_names, stores_transposed, target_modules, task_arguments, wrap

_OURS = frozenset(field.name for field in dataclasses.fields(PeftConfig)) | {
    "bias", "fan_in_fan_out", "layers_pattern", "modules_to_save", "progressbar", "runtime_offload_base_weight", "target_modules",
}  # fmt: skip
"""Fields that follow from model and task, or that would make an adapter which cannot be taken off again."""

_VALUES_NEEDED = re.compile(r"meta tensor|register_meta|on meta|meta device", re.IGNORECASE)
"""In the message of a tuner that cannot be put on a model without weights."""

_SMALL = 300_000_000
"""Parameters up to which a model is built with random weights for such a tuner to be counted."""


def config_class(kind: str) -> type:
    """The ``PeftConfig`` of a tuner: ``vera``.

    Raises:
        NotFound: the installed PEFT has no such tuner.
    """
    found = PEFT_TYPE_TO_CONFIG_MAPPING.get(getattr(PeftType, kind.upper(), None))  # pyright: ignore[reportArgumentType, reportCallIssue]
    if found is None:
        raise NotFound(f"the installed PEFT has no tuner '{kind}'", "update peft, or the package that adds it")
    return found


def options_of(kind: str) -> list[dict[str, Any]]:
    """A tuner's options, in the order of its configuration class.

    Returns:
        ``{name, type, choices, optional, default, help}``; the type is ``int``, ``float``, ``bool``, ``str``, ``dict``, ``list[str]``,
        ``list[int]`` or ``choice``. Fields of types that no option can have (nested configurations) are left out.
    """
    kind_class = config_class(kind)
    hints = get_type_hints(kind_class)
    rows = []
    for field in dataclasses.fields(kind_class):
        found = _type(hints[field.name])
        default = field.default_factory() if field.default_factory is not dataclasses.MISSING else field.default
        if field.name in _OURS or found is None or default is dataclasses.MISSING:
            continue
        name, choices, optional = found
        words = " ".join(str(field.metadata.get("help", "")).split())
        rows.append(
            {
                "name": field.name, "type": name, "choices": choices, "optional": optional or default is None, "default": default,
                "help": re.split(r"(?<=[a-z)'`]\.) (?=[A-Z])", words)[0],
            }
        )  # fmt: skip
    return rows


def _type(hint: Any) -> tuple[str, list[str], bool] | None:
    """Type, choices and whether ``None`` is allowed of a field; nothing where no option can say it."""
    members = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    plain = [member for member in members if member is not type(None) and get_origin(member) is not Literal]
    choices = [str(value) for member in members if get_origin(member) is Literal for value in get_args(member)]
    optional = type(None) in members
    if not plain:
        return "choice", choices, optional
    if {int, float} == set(plain):
        plain = [float]
    lists = [member for member in plain if get_origin(member) is list]
    if lists:
        inner = get_args(lists[0])
        return (f"list[{inner[0].__name__}]", [], optional) if inner and inner[0] in (str, int) else None
    first = get_origin(plain[0]) or plain[0]
    return (first.__name__, choices, optional) if first in (int, float, bool, str, dict) else None


def make_config(kind: str, options: Mapping[str, Any], model: nn.Module, task: Task) -> PeftConfig:
    """A tuner's configuration for a loaded base.

    Args:
        options: by name; ``target_modules`` is ours (``auto`` or names), the others are the tuner's.

    Raises:
        UsageError: a name in ``target_modules`` matches nothing.
        Incompatible: the tuner does not take these options, in its own words.
    """
    kind_class = config_class(kind)
    names = {field.name for field in dataclasses.fields(kind_class)}
    arguments = {**task_arguments(model, task), **options}
    targets = arguments.pop("target_modules")
    if kind == "ln_tuning":
        arguments["target_modules"] = distinctive_names(model, block_norms(model)) if isinstance(targets, str) else targets
    else:
        arguments["target_modules"] = target_modules(model, targets)
    if "fan_in_fan_out" in names:
        arguments["fan_in_fan_out"] = stores_transposed(model)
    try:
        return kind_class(**{name: value for name, value in arguments.items() if name in names})
    except (ValueError, TypeError, ImportError) as problem:
        raise Incompatible(f"{kind}: {problem}") from problem


def block_norms(model: nn.Module) -> list[str]:
    """Paths of the norms inside the numbered blocks."""
    return [name for name, module in model.named_modules() if "Norm" in type(module).__name__ and re.search(r"\.\d+\.", name)]


def count(kind: str, options: dict[str, Any], config: dict[str, Any], task: Task, head: list[str], num_labels: int) -> dict[str, Any]:
    """How many parameters a tuner would train on a model of which only the configuration is known.

    Args:
        config: the model's ``config.json``.
        head: tensors of the task's head (`ModelSpec.head`).

    Returns:
        ``{"trainable", "refused"}``: the count, or why the tuner cannot be put on this model, in PEFT's words.
    """
    try:
        try:
            model = _put_on(kind, options, _bare_model(config, task, head, num_labels, "meta"), task)
        except (FineTUIError, RuntimeError) as problem:
            if not _VALUES_NEEDED.search(str(problem)):
                raise
            base = _bare_model(config, task, head, num_labels, "meta")
            if sum(parameter.numel() for parameter in base.parameters()) > _SMALL:
                return {
                    "trainable": 0,
                    "refused": f"peft:{kind} is made from the weights' values: it cannot be planned for a model this large",
                }
            model = _put_on(kind, options, _bare_model(config, task, head, num_labels, "cpu"), task)
    except FineTUIError as problem:
        return {"trainable": 0, "refused": problem.message}
    trainable = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    if len(head) and not any(parameter.requires_grad for name, parameter in model.named_parameters() if "modules_to_save" not in name):
        trainable = 0
    return {"trainable": trainable, "refused": "" if trainable else f"peft:{kind} finds nothing to train in this model"}


def _put_on(kind: str, options: dict[str, Any], base: nn.Module, task: Task) -> nn.Module:
    return wrap(base, make_config(kind, options, base, task))


def _bare_model(config: dict[str, Any], task: Task, head: list[str], num_labels: int, device: str) -> Any:
    """A model of this configuration with no weights (``meta``) or random ones."""
    import transformers

    made = transformers.AutoConfig.for_model(**{"model_type": "", **config})
    if task == "seq-cls":
        made.num_labels = num_labels
    automatic = transformers.AutoModelForSequenceClassification if task == "seq-cls" else transformers.AutoModelForCausalLM
    with torch.device(device):
        model = automatic.from_config(made, dtype=torch.float32)
    if task == "seq-cls":
        mark_head(model, head)
    return model
