"""``peft:<type>``: every tuner of the installed PEFT that has no plugin of its own, with the options of its configuration class.

Nothing here imports PEFT: its types are read from its source, its options and the number of parameters they make are asked of
a worker process once and remembered (`ask`).
"""

from __future__ import annotations

import importlib.util
import re
from dataclasses import fields, make_dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from ...core.api import Family, Footprint, Incompatible, ModelSpec, NotFound, PeftMethod, Task, ask, option

if TYPE_CHECKING:
    from peft import PeftConfig

_WORKER = "finetui.core.worker.tuners_of_peft"

_TYPES: dict[str, Any] = {
    "int": int, "float": float, "bool": bool, "str": str, "dict": dict[str, Any], "list[str]": list[str], "list[int]": list[int],
}  # fmt: skip

_SENTENCES = {
    "adamss": "Updates within subspaces of the weights that clustering finds (needs scikit-learn).",
    "beft": "Trains bias vectors of the chosen linear layers, also where the base has none.",
    "boft": "Rotates the weights by products of sparse orthogonal (butterfly) matrices.",
    "c3a": "Updates by block-circular convolution: high rank from few parameters.",
    "deft": "Removes a low-rank subspace from the weights and puts a learned update in its place.",
    "delora": "LoRA whose strength is learned apart from its direction.",
    "fourierft": "Learns a few coefficients of each update's Fourier spectrum.",
    "frod": "Sparse learned changes in a full-rank basis that the layers share.",
    "glora": "Generalised LoRA: scales and shifts weights, biases and activations.",
    "gralora": "LoRA in blocks of the weight matrix, each with its own low-rank update.",
    "hira": "Multiplies the weights element by element with a low-rank matrix: updates of high rank.",
    "hra": "Rotates the weights by a chain of Householder reflections.",
    "lily": "LoRA whose up-projections are shared between layers and mixed by a router.",
    "ln_tuning": "Trains the norms of the blocks only.",
    "loha": "Updates that are Hadamard products of two low-rank matrices.",
    "lokr": "Updates that are Kronecker products.",
    "miss": "One small matrix shared by the shards of each weight.",
    "oft": "Rotates the weights by block-diagonal orthogonal matrices.",
    "osf": "Trains the directions of the weights with small singular values and keeps the others.",
    "peanut": "Updates computed from the frozen weights by a small network.",
    "psoft": "Rotations within the weights' principal subspace.",
    "pvera": "VeRA whose vectors are drawn from a learned distribution while training.",
    "randlora": "Full-rank updates: learned combinations of fixed random low-rank matrices.",
    "road": "Rotates pairs of activations in two dimensions.",
    "shira": "Trains a small random choice of the weights' own entries.",
    "supertuning": "Trains few entries of the weights, chosen by their size.",
    "tinylora": "Projects a handful of parameters through fixed random tensors into the weights' main directions.",
    "unilora": "Draws all LoRA parameters from one short trained vector.",
    "vblora": "Composes low-rank updates from a shared bank of vectors.",
    "vera": "Trains two vectors a projection between fixed random matrices.",
    "waveft": "Learns a few wavelet coefficients of each update.",
}

_ELSEWHERE = ("adalora", "ia3", "lora", "p_tuning", "prefix_tuning", "prompt_tuning")
"""Types with a plugin of their own, under their plain names."""

_UNFIT = {
    "adaption_prompt": "PEFT has it for a few architectures only; prefix_tuning does the same on all of them",
    "cartridge": "it is distilled from a long text's key-value cache, not trained on examples",
    "cpt": "its virtual tokens are made from chosen examples' token ids; prompt_tuning is its plain form",
    "multitask_prompt_tuning": "it needs the number of each example's task, which data here does not have",
    "poly": "it needs the number of each example's task, which data here does not have",
    "shadow": "it trains a second network beside the base with a loss of its own",
    "trainable_tokens": "it trains the embeddings of chosen tokens only",
    "xlora": "it mixes LoRA adapters that were trained before, and trains none itself",
}
"""Types that cannot train like the others, each with its reason."""

_NEVER_MERGED = ("lily",)
"""What these add depends on the input."""


class PeftTuners(Family):
    """The tuners of the installed PEFT."""

    name = "peft:*"
    title = "Other tuners of PEFT"
    summary = "Every further tuner that the installed PEFT has, with its own options."

    def members(self) -> list[str]:
        """The types that PEFT's source declares, those left out that have a plugin of their own or do not fit."""
        return sorted(kind for kind in _declared() if kind not in _ELSEWHERE and kind not in _UNFIT)

    def make(self, member: str) -> PeftTuner:
        """The method of one type."""
        kind = member.lower()
        if kind in _ELSEWHERE:
            raise NotFound(f"unknown method 'peft:{member}'", f"the method is called '{kind}' here")
        if kind in _UNFIT:
            raise Incompatible(f"PEFT's {kind} cannot be trained here: {_UNFIT[kind]}", "`finetui methods list` shows the others")
        if kind not in _declared():
            known = ", ".join(self.members())
            raise NotFound(f"unknown method 'peft:{member}': the installed PEFT has no such type", f"it has {known}")
        return PeftTuner(kind)


@cache
def _declared() -> frozenset[str]:
    """The members of PEFT's ``PeftType``, in lower case, without importing it."""
    found = importlib.util.find_spec("peft")
    if found is None or found.origin is None:
        return frozenset()
    source = (Path(found.origin).parent / "utils" / "peft_types.py").read_text(encoding="utf-8")
    return frozenset(name.lower() for name in re.findall(r'^    ([A-Z0-9_]+) = "\1"', source.partition("class TaskType")[0], re.MULTILINE))


class PeftTuner(PeftMethod):
    """One tuner of PEFT on the projections of the blocks (``ln_tuning``: on their norms).

    Args:
        kind: its type in lower case.
    """

    name = "peft:"
    title = "PEFT"
    summary = ""
    good_for = "When a paper or a colleague's adapter asks for exactly this tuner; LoRA is the better tested choice otherwise."
    reference = "https://huggingface.co/docs/peft"
    learning_rate = 1e-3

    def __init__(self, kind: str) -> None:
        self.kind = kind
        own = {
            "name": f"peft:{kind}", "title": f"PEFT's {kind}", "merges": kind not in _NEVER_MERGED,
            "summary": _SENTENCES.get(kind, f"PEFT's tuner of the type {kind.upper()}."),
        }  # fmt: skip
        vars(self).update(own)

    @cached_property
    def options(self) -> type:  # pyright: ignore[reportIncompatibleVariableOverride]
        """A dataclass of the options of the tuner's configuration class, made when first asked for."""
        targets = option("auto", _TARGETS_LN if self.kind == "ln_tuning" else _TARGETS, group="Adapter")
        declared: list[tuple[str, Any, Any]] = [("target_modules", list[str] | Literal["auto", "all-linear"], targets)]
        for row in ask(f"{_WORKER}:options_of", kind=self.kind):
            default = list(row["default"]) if isinstance(row["default"], (list, tuple)) else row["default"]
            declared.append((row["name"], _hint(row), option(default, row["help"] or "As in PEFT.", group="Adapter")))
        return make_dataclass(f"Peft{self.kind.title().replace('_', '')}Options", declared, frozen=True)

    def refusal(self, model: ModelSpec, task: Task, options: Any) -> str:
        """What PEFT itself says when the tuner is put on a model of this configuration."""
        return super().refusal(model, task, options) or self._count(model, options)["refused"]

    def footprint(self, model: ModelSpec, options: Any) -> Footprint:
        """Counted on the model's configuration, in a worker process."""
        trainable = self._count(model, options)["trainable"]
        return Footprint(trainable_parameters=trainable, added_parameters=trainable - model.head_parameters)

    def peft_config(self, model: Any, options: Any, task: Task) -> PeftConfig:
        """The tuner's configuration."""
        from ...core.worker.tuners_of_peft import make_config

        return make_config(self.kind, _values(options), model, task)

    def _count(self, model: ModelSpec, options: Any) -> dict[str, Any]:
        labels = next((tensor.shape[0] for name, tensor in model.head.items() if name in ("score.weight", "classifier.weight")), 2)
        return ask(
            f"{_WORKER}:count", kind=self.kind, options=_values(options), config=dict(model.config), task=model.task,
            head=sorted(model.head), num_labels=labels,
        )  # fmt: skip


def _hint(row: dict[str, Any]) -> Any:
    """The type of an option that a worker described."""
    choices: Any = Literal[tuple(row["choices"])] if row["choices"] else None
    hint = choices if row["type"] == "choice" else _TYPES[row["type"]]
    if choices is not None and row["type"] != "choice":
        hint = hint | choices
    return hint | None if row["optional"] else hint


_TARGETS = "Projections that are adapted: auto and all-linear take all but the output head, or a list of names."
_TARGETS_LN = "Norms that train: auto takes those of the blocks, or a list of names."


def _values(options: Any) -> dict[str, Any]:
    return {field.name: getattr(options, field.name) for field in fields(options)}
