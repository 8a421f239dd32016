"""Checkpoints of a training run: safetensors and JSON only, whole or not there at all, checked before they are used.

step-00000010/
  trainable.safetensors   parameters that train now or will, by name, in float32 where a master copy is held
  optimizer.safetensors   the optimizer's state of each, ``<name>:<key>``
  random.safetensors      generator states of Python, NumPy, torch and CUDA; random-N.safetensors those of rank N
  method.safetensors      what the method remembers (`Method.state`); absent where that is nothing
  state.json              CheckpointState: counters, schedule, loss scale, sha256 of the files above
"""

from __future__ import annotations

import contextlib
import random
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy
import torch
from safetensors import safe_open
from safetensors.torch import save as safetensors_bytes

from ..catalog.digest import sha256_file
from ..errors import CorruptFile, DiskError, Incompatible
from ..fsio import disk_errors, read_json, staged_folder, write_json
from ..planner.memory import human_bytes
from ..runs.records import STEP_PREFIX as _PREFIX
from .optim import held
from .overfitting import Reading
from .tensorfiles import load_tensors, save_tensors

_TRAINABLE, _OPTIMIZER = "trainable.safetensors", "optimizer.safetensors"
_METHOD, _STATE = "method.safetensors", "state.json"
_DAMAGED = ".damaged-"
_VALUES = "values"
_SLACK = 64 << 10
"""Bytes of a checkpoint beyond its large tensors: headers, generator states, counters."""


class Progress(msgspec.Struct, kw_only=True):
    """The counters of a run, saved with each checkpoint.

    Attributes:
        step: optimizer steps done.
        tokens: tokens seen, padding left out.
        loss: of the last step, mean over its loss tokens.
        seconds: spent on steps, evaluations left out, over all attempts.
        best_step: step of the evaluation with the lowest loss, ``best_loss``.
        stale_evaluations: evaluations since then.
        evaluation: the latest evaluation, ``{"step", "loss", "perplexity", "tokens"}``; of a classifier with ``accuracy``, ``f1``
            and ``rows`` instead of a perplexity.
        best_evaluation: the one of ``best_step``.
        data_digest: fingerprint of the training data.
        interval_loss: sum of the losses of ``interval_steps``, the steps since the last evaluation.
        readings: the two losses at the last evaluations.
        overfitting_step: evaluation at which they were found to have parted; none where they have not.
    """

    step: int = 0
    tokens: int = 0
    loss_tokens: int = 0
    loss: float | None = None
    seconds: float = 0.0
    best_step: int | None = None
    best_loss: float | None = None
    stale_evaluations: int = 0
    evaluation: dict[str, Any] = {}
    best_evaluation: dict[str, Any] = {}
    data_digest: str = ""
    interval_loss: float = 0.0
    interval_steps: int = 0
    readings: list[Reading] = []
    overfitting_step: int | None = None


class CheckpointState(msgspec.Struct, kw_only=True):
    """``state.json`` of a checkpoint.

    Attributes:
        examples_per_step: over all processes; the step of ``progress`` is a place in the data only with it.
    """

    progress: Progress
    scheduler: dict[str, Any]
    scaler: dict[str, Any]
    files: dict[str, str]
    examples_per_step: int

    def require_steps_of(self, examples: int) -> None:
        """Refuse to go on from here with steps of another number of examples: they would begin elsewhere in the data.

        Raises:
            Incompatible: says how many there were, and how to have as many again.
        """
        before = self.examples_per_step
        if before != examples:
            raise Incompatible(
                f"step {self.progress.step} was reached with {before} examples a step, this attempt takes {examples}",
                "resume on as many devices as before, or have per_device_train_batch_size × gradient_accumulation_steps × devices "
                f"make {before}",
            )


class Checkpoints:
    """The checkpoints of one run.

    Args:
        folder: holds one folder a checkpoint.
        limit: how many are kept besides the best.
        writes: whether this process is the one that writes them.
    """

    def __init__(self, folder: Path, limit: int, *, writes: bool = True) -> None:
        self.folder = folder
        self.limit = limit
        if not writes:
            return
        with disk_errors(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for left_over in folder.glob(f".{_PREFIX}*"):
                shutil.rmtree(left_over)

    def path(self, step: int) -> Path:
        """Folder of the checkpoint of ``step``."""
        return self.folder / f"{_PREFIX}{step:08d}"

    def steps(self) -> list[int]:
        """Steps that have a checkpoint, oldest first."""
        return sorted(int(path.name.removeprefix(_PREFIX)) for path in self.folder.glob(f"{_PREFIX}*"))

    def save(
        self,
        model: Any,
        optimizer: Any,
        scheduler: Any,
        scaler: Any,
        progress: Progress,
        method_state: dict[str, torch.Tensor],
        random_states: Sequence[bytes],
        examples_per_step: int,
    ) -> Path:
        """Write a checkpoint of this moment and remove those that are no longer kept.

        Args:
            method_state: what `Method.state` gave.
            random_states: what `random_state` gave in every process, by rank.

        Raises:
            DiskError: the disk is full; nothing half-written stays, and what `make_room` keeps is untouched.
        """
        target = self.path(progress.step)
        if target.exists():
            shutil.rmtree(target)
        with staged_folder(target) as folder:
            save_tensors(folder / _TRAINABLE, {name: exact for name, (_, exact) in _trainable(model, optimizer).items()})
            save_tensors(folder / _OPTIMIZER, _optimizer_tensors(model, optimizer))
            for rank, content in enumerate(random_states):
                with disk_errors(folder):
                    (folder / _random_file(rank)).write_bytes(content)
            if method_state:
                save_tensors(folder / _METHOD, method_state)
            state = CheckpointState(
                progress=progress, scheduler=scheduler.state_dict(), scaler=scaler.state_dict(),
                examples_per_step=examples_per_step,
                files={file.name: sha256_file(file) for file in sorted(folder.glob("*.safetensors"))},
            )  # fmt: skip
            write_json(folder / _STATE, state)
        self._prune(progress.best_step)
        return target

    def make_room(self, model: Any, optimizer: Any, best: int | None) -> list[int]:
        """Before a save: where the disk has no room for it, remove damaged checkpoints, then old ones earlier than ``limit`` says.

        Args:
            best: step that is kept in any case, as the newest is.

        Returns:
            The steps that were removed.

        Raises:
            DiskError: there is not room enough even so.
        """
        tensors = [exact for _, exact in _trainable(model, optimizer).values()] + list(_optimizer_tensors(model, optimizer).values())
        needed = sum(tensor.nbytes for tensor in tensors) + _SLACK
        spare = [step for step in self.steps()[:-1] if step != best]
        removed: list[int] = []
        while (free := shutil.disk_usage(self.folder).free) < needed:
            if next(self.folder.glob(f"{_DAMAGED}*"), None):
                self.remove_damaged()
            elif spare:
                removed.append(spare.pop(0))
                self._remove(removed[-1])
            else:
                raise DiskError(
                    f"{self.folder}: {human_bytes(free)} are free, a checkpoint needs {human_bytes(needed)}",
                    "free some space, then resume: training goes on from the checkpoint before",
                )
        return removed

    def newest(self) -> Iterator[tuple[int, CheckpointState | CorruptFile]]:
        """Steps with their verified state, newest first; an error in place of the state of a damaged one."""
        for step in reversed(self.steps()):
            try:
                yield step, self.read(step)
            except CorruptFile as problem:
                yield step, problem

    def read(self, step: int) -> CheckpointState:
        """The state of a checkpoint, its files compared with their digests.

        Raises:
            CorruptFile: a file is missing or not what was written.
        """
        folder = self.path(step)
        try:
            state = read_json(folder / _STATE, CheckpointState)
        except OSError as problem:
            raise CorruptFile(f"{folder / _STATE}: {problem.strerror}") from problem
        for name, digest in state.files.items():
            if not (folder / name).is_file() or sha256_file(folder / name) != digest:
                raise CorruptFile(f"{folder / name} is not what was saved")
        return state

    def set_aside(self, step: int) -> None:
        """Take a damaged checkpoint out of the count, so that it pushes no sound one out; its files stay for now."""
        aside = self.folder / f"{_DAMAGED}{self.path(step).name}"
        with disk_errors(aside):
            if aside.exists():
                shutil.rmtree(aside)
            self.path(step).rename(aside)

    def remove_damaged(self) -> None:
        """Remove what was set aside."""
        for folder in self.folder.glob(f"{_DAMAGED}*"):
            shutil.rmtree(folder, ignore_errors=True)

    def load_trainable(self, step: int, model: Any, optimizer: Any) -> None:
        """Put a checkpoint's parameters into the model.

        Raises:
            CorruptFile: they are not those that the optimizer holds.
        """
        path = self.path(step) / _TRAINABLE
        saved = load_tensors(path)
        parameters = _trainable(model, optimizer)
        if saved.keys() != parameters.keys() or any(saved[name].shape != p.shape for name, (p, _) in parameters.items()):
            raise CorruptFile(f"{path} does not hold the parameters that train now", "start a new run: its options have changed")
        with torch.no_grad():
            for name, (parameter, exact) in parameters.items():
                exact.copy_(saved[name])
                if exact is not parameter:
                    parameter.copy_(exact)

    def load(self, step: int, state: CheckpointState, model: Any, optimizer: Any, scheduler: Any, scaler: Any, rank: int = 0) -> None:
        """Put everything back as it was at ``step``, so that training goes on as if it had not been interrupted.

        The generators of a rank that did not exist then are left alone.
        """
        self.load_trainable(step, model, optimizer)
        entries = _by_parameter(load_tensors(self.path(step) / _OPTIMIZER))
        content = optimizer.state_dict()
        names = list(_trainable(model, optimizer))
        content["state"] = {number: entries[name] for number, name in enumerate(names) if name in entries}
        optimizer.load_state_dict(content)
        scheduler.load_state_dict({**scheduler.state_dict(), **state.scheduler})
        for group, rate in zip(optimizer.param_groups, scheduler.get_last_lr()):
            group["lr"] = rate
        if state.scaler:
            scaler.load_state_dict(state.scaler)
        if (self.path(step) / _random_file(rank)).exists():
            _restore_random_state(self.path(step) / _random_file(rank))

    def method_state(self, step: int) -> dict[str, torch.Tensor]:
        """What the method remembered at ``step``; empty where that was nothing."""
        path = self.path(step) / _METHOD
        return load_tensors(path) if path.exists() else {}

    def _prune(self, best: int | None) -> None:
        others = [step for step in self.steps() if step != best]
        for step in others[: -self.limit]:
            self._remove(step)

    def _remove(self, step: int) -> None:
        """Remove a checkpoint; out of the count at once, so that none is ever half there."""
        gone = self.folder / f".{self.path(step).name}.removed"
        with contextlib.suppress(OSError):
            self.path(step).rename(gone)
        shutil.rmtree(gone, ignore_errors=True)


def _trainable(model: Any, optimizer: Any) -> dict[str, tuple[torch.Tensor, torch.Tensor]]:
    """The optimizer's parameters by name, in its order, each with the tensor that holds its exact value."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: (parameter, exact) for parameter, exact in held(optimizer)}


def _optimizer_tensors(model: Any, optimizer: Any) -> dict[str, torch.Tensor]:
    names = list(_trainable(model, optimizer))
    states = optimizer.state_dict()["state"]
    return {f"{names[number]}:{key}": value for number, entries in states.items() for key, value in _flat(entries)}


def _flat(entries: dict[str, Any]) -> Iterator[tuple[str, torch.Tensor]]:
    """An optimizer's state of one parameter as tensors: bitsandbytes nests some of it, and counts steps in an ``int``."""
    for key, value in entries.items():
        if isinstance(value, dict):
            yield from _flat(value)
        else:
            yield key, torch.as_tensor(value)


def _by_parameter(saved: dict[str, torch.Tensor]) -> dict[str, dict[str, Any]]:
    entries: dict[str, dict[str, Any]] = {}
    for key, value in saved.items():
        name, _, what = key.rpartition(":")
        entries.setdefault(name, {})[what] = int(value) if value.dtype == torch.int64 and value.ndim == 0 else value
    return entries


def _random_file(rank: int) -> str:
    return f"random-{rank}.safetensors" if rank else "random.safetensors"


def random_state() -> bytes:
    """The states of this process's generators, as the content of a safetensors file; what is no array is JSON in its header."""
    version, numbers, gauss = random.getstate()
    kind, keys, position, has_gauss, cached = numpy.random.get_state()  # noqa: NPY002
    tensors = {
        "python": torch.tensor(numbers, dtype=torch.int64),
        "numpy": torch.from_numpy(numpy.asarray(keys).astype(numpy.int64)),
        "torch": torch.get_rng_state(),
    }
    if torch.cuda.is_available():
        tensors |= {f"cuda:{number}": state for number, state in enumerate(torch.cuda.get_rng_state_all())}
    values = {"python": [version, gauss], "numpy": [kind, int(position), int(has_gauss), float(cached)]}
    return safetensors_bytes(tensors, metadata={_VALUES: msgspec.json.encode(values).decode()})


def _restore_random_state(path: Path) -> None:
    tensors = load_tensors(path)
    with safe_open(path, "pt") as file:
        values = msgspec.json.decode(file.metadata()[_VALUES])
    version, gauss = values["python"]
    random.setstate((version, tuple(tensors["python"].tolist()), gauss))
    kind, position, has_gauss, cached = values["numpy"]
    numpy.random.set_state((kind, tensors["numpy"].numpy().astype(numpy.uint32), position, has_gauss, cached))  # noqa: NPY002
    torch.set_rng_state(tensors["torch"])
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            if f"cuda:{number}" in tensors:
                torch.cuda.set_rng_state(tensors[f"cuda:{number}"], number)
