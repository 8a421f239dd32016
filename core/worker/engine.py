"""The inference engine: a base loaded once, adapters resident beside it, one of them (or none) switched on."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import torch

from ..api import Task
from ..blends import blend_refusal
from ..catalog.classes import classes_of, task_of
from ..errors import Incompatible, NameTaken, NotFound, UsageError, closest
from ..inference import LoadedAdapter
from ..planner.reading import read_model
from .blending import Blend, make_blend, why_not
from .loading import compute_device, load_base, load_tokenizer, quiet_libraries
from .slots import Slot, load_slot

Chosen = str | Mapping[str, float] | None
"""Who is to answer: an adapter by name, a blend of several by their weights, or nobody but the base."""


def require_task(adapter: Path, task: Task) -> None:
    """Refuse an adapter that is for another task than a base is loaded for.

    Raises:
        Incompatible: it is.
    """
    if task_of(adapter) != task:
        raise Incompatible(f"{adapter} is for {task_of(adapter)}, the base is loaded for {task}", "load the base for that task")


class Engine:
    """A base model and any number of adapters for it.

    Adapters are named by whoever adds them, with any characters; inside, no two share anything.

    Args:
        path: the base's folder.
        device: none: the first GPU that is visible, else the CPU.
        dtype: none: as stored.
        task: ``seq-cls`` loads the base as a classifier; each adapter brings its own head, for classes of its own.

    Raises:
        Refused: a GPU was given to this process that torch cannot use.
    """

    def __init__(
        self, path: Path, device: torch.device | str | None = None, dtype: torch.dtype | None = None, task: Task = "causal-lm"
    ) -> None:
        quiet_libraries()
        started = time.perf_counter()
        self.path = path
        self.device = torch.device(device) if device else compute_device()
        self.tokenizer = load_tokenizer(path)
        self.task: Task = task
        self.base = load_base(path, dtype=dtype, device=self.device, task=task)
        self._base_labels = classes_of(read_model(path).config) if task == "seq-cls" else []
        self.base.requires_grad_(False)
        self._keep_head_fast()
        self.active: Chosen = None
        self._slots: dict[str, Slot] = {}
        self._on: Slot | None = None
        self._blend: Blend | None = None
        self.seconds = time.perf_counter() - started

    @property
    def model(self) -> Any:
        """What to call for logits and generation with the active adapter."""
        return self.base if self._on is None or self._on.wrapper is None else self._on.wrapper

    @property
    def virtual_tokens(self) -> int:
        """Positions that the active adapter takes in front of the prompt."""
        return self._on.virtual_tokens if self._on is not None else 0

    @property
    def labels(self) -> list[str]:
        """Classes that the model as it is tells apart, in order; none of a base that was never trained to."""
        return self._on.labels if self._on is not None else self._base_labels

    def add(self, name: str, path: Path) -> LoadedAdapter:
        """Load an adapter; which one is active does not change.

        Raises:
            NameTaken: another adapter is resident under ``name``.
            FineTUIError: as `slots.load_slot`.
        """
        if name in self._slots:
            raise NameTaken(f"an adapter named '{name}' is loaded already", "remove it first, or give this one another name")
        require_task(path, self.task)
        active = self.active
        self.activate(None)
        try:
            self._slots[name] = load_slot(self.base, path)
        finally:
            self.activate(active)
        return self._resident(name)

    def remove(self, name: str) -> None:
        """Drop an adapter; where it was active, alone or in a blend, nothing is afterwards.

        Raises:
            NotFound: no such adapter.
        """
        self._slot(name)
        if name == self.active or (isinstance(self.active, Mapping) and name in self.active):
            self.activate(None)
        if self._blend is not None and name in self._blend.names:
            self._blend = None
        del self._slots[name]

    def activate(self, chosen: Chosen) -> float:
        """Swap to an adapter, to a blend by its weights, or to the base with ``None``; returns the seconds it took.

        A blend of the same adapters with other weights costs as good as nothing. One adapter with weight 1 is that adapter.

        Raises:
            NotFound: no such adapter; what is active stays.
            Incompatible: an adapter of the blend cannot be weighed.
            UsageError: a weight is not a finite number.
        """
        started = time.perf_counter()
        if chosen != self.active:
            incoming = self._chosen_slot(chosen)
            if incoming is not self._on:
                if self._on is not None:
                    self._on.switch_off()
                if incoming is not None:
                    incoming.switch_on()
            self.active, self._on = dict(chosen) if isinstance(chosen, Mapping) else chosen, incoming
        return time.perf_counter() - started

    def _chosen_slot(self, chosen: Chosen) -> Slot | None:
        if not isinstance(chosen, Mapping):
            return self._slot(chosen) if chosen is not None else None
        for name, weight in chosen.items():
            if not math.isfinite(weight):
                raise UsageError(f"the weight of '{name}' is {weight}, not a finite number", "for example 0.7")
            slot = self._slot(name)
            if reason := why_not(slot):
                raise blend_refusal(name, slot.kind, reason)
        if list(chosen.values()) == [1.0]:
            return self._slot(next(iter(chosen)))
        if self._blend is None or self._blend.names != tuple(chosen):
            self._blend = make_blend({name: self._slot(name) for name in chosen})
        self._blend.weigh(chosen)
        return self._blend

    def status(self) -> dict[str, Any]:
        """What is loaded: ``{model, device, dtype, seconds, active, adapters}``."""
        return {
            "model": str(self.path),
            "task": self.task,
            "device": str(self.device),
            "dtype": str(self.base.dtype).removeprefix("torch."),
            "seconds": self.seconds,
            "active": self.active,
            "adapters": [msgspec.to_builtins(self._resident(name)) for name in self._slots],
        }

    def _slot(self, name: str) -> Slot:
        if name not in self._slots:
            raise NotFound(f"no adapter named '{name}' is loaded", closest(name, self._slots, "adapter"))
        return self._slots[name]

    def _resident(self, name: str) -> LoadedAdapter:
        slot = self._slots[name]
        return LoadedAdapter(name, str(slot.path), slot.kind, slot.bytes, slot.seconds, why_not(slot))

    def _keep_head_fast(self) -> None:
        """Let the output head require gradients, which nothing here computes.

        With a frozen head torch does not fold ``hidden[:, -1:, :]`` to two dimensions on CPUs and copies the vocabulary
        matrix once per row of the batch instead: tens of times slower.
        """
        head = self.base.get_output_embeddings() if hasattr(self.base, "get_output_embeddings") else None
        if head is not None:
            head.weight.requires_grad_(True)
