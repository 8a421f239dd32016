"""From what a person asks to what a run does: names resolved, options checked, and everything refused that cannot work.

The command line and the screen both come through here, so that both refuse the same things with the same words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .. import registry
from ..api import Method, Task
from ..catalog.catalog import Catalog
from ..catalog.classes import task_of
from ..catalog.entries import AdapterEntry, ModelEntry
from ..catalog.names import free_name, require_free
from ..data.labels import label_names, require_known
from ..data.shaping import Dataset, examples
from ..devices import select
from ..dropout import dropout_settings
from ..errors import Incompatible, NameTaken, NotFound, Refused, UsageError, closest
from ..modelspec import TOKENIZER_FILES
from ..options import describe, flattened, parse, respelt, to_dict
from ..paths import Home
from ..planner.advice import require_fit
from ..planner.disk import disk_need, require_disk
from ..planner.loaded import loaded_bytes
from ..planner.memory import Plan
from ..planner.reading import read_model
from ..planner.record import Past
from ..planner.tasks import choose_task, for_task
from ..training import TrainingOptions, require_master_copies, require_pageable, require_processes
from .launch import launch
from .past import past_runs
from .planning import devices_for, plan_on
from .spec import EvaluateRequest, MergeRequest, RunKind, TrainRequest
from .store import Run, RunStore

QUICK_ROWS = 20_000
"""Rows of data that are checked before a launch; the run itself checks every one."""


def split_settings(method: Method, settings: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sort ``--set`` keys into the training loop's and the method's, checked and without defaults.

    Returns:
        (training options, method options): the values that differ from the defaults.

    Raises:
        UsageError: an unknown key (the closest names of both suggested), a wrong type, a value out of range.
    """
    loop = {row.name for row in describe(TrainingOptions)}
    own = {row.name for row in describe(method.options)}
    settings = flattened(respelt(TrainingOptions, settings), own)
    for key in settings:
        if key not in loop | own:
            raise UsageError(f"unknown option '{key}' of method '{method.name}'", closest(key, loop | own, "option"))
    training = parse(TrainingOptions, {key: value for key, value in settings.items() if key in loop}, owner="training")
    options = parse(method.options, {k: v for k, v in settings.items() if k in own and k not in loop}, owner=f"method '{method.name}'")
    return to_dict(training, changed_only=True), to_dict(options, changed_only=True)


def effective_options(method: Method, training_options: Mapping[str, Any], method_options: Mapping[str, Any]) -> dict[str, Any]:
    """Every option of the loop and of the method with the value it takes, defaults included."""
    training = to_dict(parse(TrainingOptions, training_options))
    if training["learning_rate"] is None:
        training["learning_rate"] = method.learning_rate
    return {**training, **to_dict(parse(method.options, method_options))}


def _require_sense(method: Method, training_options: Mapping[str, Any]) -> None:
    """Options that are right one by one but not together."""
    if training_options.get("master_copy") == "fp32":
        require_master_copies(method.name, method.artifact)
    if training_options.get("bf16") and training_options.get("fp16"):
        raise UsageError("bf16 and fp16 are both on", "choose one; without either, the hardware decides")
    if training_options.get("max_steps", -1) == 0 or (
        training_options.get("num_train_epochs") == 0 and training_options.get("max_steps", -1) < 0
    ):
        raise UsageError("nothing would be trained: zero steps", "give max_steps or num_train_epochs above zero")


def existing_files(paths: Sequence[str | Path]) -> list[str]:
    """Absolute paths of files that exist.

    Raises:
        NotFound: one does not.
        UsageError: none was given, or one is a folder.
    """
    if not paths:
        raise UsageError("no data given", "name at least one file with --data")
    found = []
    for path in paths:
        if not str(path):
            raise UsageError("the name of a data file is empty", "name at least one file")
        absolute = Path(path).expanduser().absolute()
        if absolute.is_dir():
            raise UsageError(f"{absolute} is a folder", "name the files themselves; several are allowed")
        if not absolute.exists():
            raise NotFound(f"{absolute}: no such file", "check the path of the data")
        if not absolute.is_file():
            raise UsageError(f"{absolute} is not a regular file", "pipes and devices cannot be read twice: save the data to a file")
        found.append(str(absolute))
    return found


def require_trainable(model: ModelEntry) -> None:
    """Refuse a model whose folder is broken or has no tokenizer.

    Raises:
        FineTUIError: of the kind that reading the folder raises (`CorruptFile`, `UnsafeFile`, `NotFound`).
        Refused: there is no tokenizer.
    """
    folder = Path(model.path)
    spec = read_model(folder)
    if not spec.has_weights:
        raise NotFound(f"{folder} has no weights", "the folder needs model.safetensors (or an index and its shards)")
    if not any((folder / name).exists() for name in TOKENIZER_FILES):
        raise Refused(f"{folder} has no tokenizer", f"copy the model's tokenizer files into the folder ({TOKENIZER_FILES[0]} at least)")


def _require_method(model: ModelEntry, name: str, task: Task, labels: int, method_options: Mapping[str, Any]) -> None:
    method: Method = registry.load("methods", name)
    options = parse(method.options, method_options, owner=f"method '{name}'")
    reason = method.refusal(for_task(read_model(Path(model.path)), task, labels), task, options)
    if reason:
        raise Incompatible(f"method '{name}' cannot train {model.name}: {reason}", "finetui methods list shows the others")


def _read_data(
    files: Sequence[str], evaluation: Sequence[str], columns: Mapping[str, str], objective: str, task: Task
) -> tuple[Dataset, list[str]]:
    """The first rows of the training data, and the classes of ``seq-cls``, for which every row is looked at.

    Raises:
        DataError: a row is malformed, there is one class only, or the evaluation data has a class that is not trained.
    """
    limit = None if task == "seq-cls" else QUICK_ROWS
    rows = examples(files, columns, objective, task=task, limit=limit)
    labels = label_names(rows) if task == "seq-cls" else []
    if evaluation:
        held_out = examples(evaluation, columns, rows.objective, task=task, limit=limit)
        if labels:
            require_known(held_out, labels)
    return rows, labels


def _result_name(home: Home, model: ModelEntry, method: str, name: str) -> str:
    if not name:
        stem = Path(model.name).name or "model"
        return free_name(home, f"{stem}-{method}".replace(":", "-"))
    return require_free(home, name)


def train_request(
    home: Home,
    *,
    model: str,
    data: Sequence[str | Path],
    method: str,
    settings: Mapping[str, Any] | None = None,
    name: str = "",
    task: Task | None = None,
    objective: str = "",
    columns: Mapping[str, str] | None = None,
    eval_data: Sequence[str | Path] = (),
    eval_split: float = 0.1,
    seed: int = 0,
    split_seed: int | None = None,
    gpus: str = "auto",
    share_gpu: bool = False,
    executor: str = "local",
) -> TrainRequest:
    """Check and resolve a training run without starting it.

    Args:
        settings: what ``--set`` takes: training and method options in one mapping.
        name: of the result; empty: made from model and method.
        split_seed: of the evaluation split; none: ``seed``.
        task: none: see `choose_task`.

    Raises:
        FineTUIError: anything that would make the run fail for certain: unknown names or options, malformed data, a
            model folder that cannot be loaded, a method that does not fit the architecture, a name that is taken.
    """
    if executor != "local":
        raise NotFound(f"unknown executor '{executor}'", "known executor names: local")
    if not 0 <= eval_split < 1:
        raise UsageError(f"--eval-split is {eval_split}; it must be at least 0 and below 1", "0.1 keeps a tenth for evaluation")
    if not 0 <= seed < 2**32:
        raise UsageError(f"--seed is {seed}; it must be between 0 and {2**32 - 1}", "any small number will do")
    plugin: Method = registry.load("methods", method)
    training_options, method_options = split_settings(plugin, settings or {})
    _require_sense(plugin, training_options)
    entry = Catalog(home).model(model)
    require_trainable(entry)
    dropout_settings(read_model(Path(entry.path)).config, training_options.get("dropout"))
    files, evaluation = existing_files(data), existing_files(eval_data) if eval_data else []
    task = task or choose_task(read_model(Path(entry.path)), columns)
    _require_method(entry, method, task, 2, method_options)
    rows, labels = _read_data(files, evaluation, dict(columns or {}), objective, task)
    result = _result_name(home, entry, method, name)
    folder = home.models if plugin.artifact == "model" else home.adapters
    plan = _fitting_plan(entry, method, method_options, training_options, task, gpus, rows, len(labels), past_runs(home))
    loop_options: TrainingOptions = parse(TrainingOptions, training_options)
    need = disk_need(plan.trainable_parameters, plugin.artifact, loop_options, model_bytes=entry.size_bytes, parameters=entry.parameters)
    require_disk(need, home.root)
    return TrainRequest(
        model=entry.path if Path(model).expanduser().is_dir() else model, model_path=entry.path,
        base_model_name_or_path=entry.hub_id or entry.path, base_revision=entry.revision,
        data=files, eval_data=evaluation, eval_split=eval_split, columns=dict(columns or {}), task=task, labels=labels, objective=objective,
        method=method, method_options=method_options, training_options=training_options,
        options=effective_options(plugin, training_options, method_options), seed=seed, split_seed=split_seed, name=result,
        output=str(folder / result), gpus=gpus, share_gpu=share_gpu, executor=executor,
        planned_memory_bytes=plan.total_bytes, planned_tensor_bytes=plan.total_bytes - plan.parts["overhead"],
        planned_overhead_bytes=round(plan.parts["overhead"] / plan.record.overhead_factor),
    )  # fmt: skip


def _fitting_plan(
    model: ModelEntry,
    method: str,
    method_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    task: Task,
    gpus: str,
    rows: Dataset,
    labels: int,
    past: Sequence[Past],
) -> Plan:
    """The plan on the first device where it fits; raises `DoesNotFit` where no device that may be used has so much memory, or
    where one of several named ones has not."""
    devices = devices_for(gpus)
    options: TrainingOptions = parse(TrainingOptions, training_options, owner="training")
    require_pageable(options, devices[0].kind)
    require_processes(options, devices[0].kind, 1 if gpus == "auto" else len(select(gpus)))
    plans = [
        plan_on(device, model, method, method_options, training_options, task=task, num_labels=labels, rows=rows.examples, past=past)
        for device in devices
    ]
    fitting = [plan for plan in plans if plan.fits]
    if not fitting:
        require_fit(plans[0], devices[0])
    return fitting[0]


def evaluate_request(
    home: Home,
    *,
    model: str,
    adapters: Sequence[str] = (),
    data: Sequence[str | Path],
    columns: Mapping[str, str] | None = None,
    task: Task | None = None,
    objective: str = "",
    settings: Mapping[str, Any] | None = None,
    gpus: str = "auto",
    share_gpu: bool = False,
) -> EvaluateRequest:
    """Check and resolve an evaluation of a base and any number of its adapters.

    Args:
        task: none: that of the adapters, or without any what `choose_task` says.
        settings: ``max_length``, ``per_device_eval_batch_size``, ``loss_on``, ``system_prompt``. Their defaults do not
            depend on the adapters, so that figures of two evaluations can be compared, and agree with ``data preview``.
    """
    catalog = Catalog(home)
    entry = catalog.model(model)
    require_trainable(entry)
    found = [catalog.adapter(name) for name in adapters]
    for adapter in found:
        catalog.check_pair(entry, adapter)
    options: TrainingOptions = parse(TrainingOptions, settings or {}, owner="evaluation")
    files = existing_files(data)
    task = task or _task_of(entry, found, columns)
    examples(files, dict(columns or {}), objective, task=task, limit=QUICK_ROWS)
    return EvaluateRequest(
        model=model, model_path=entry.path, adapters=[{"name": a.name, "path": a.path} for a in found], data=files,
        columns=dict(columns or {}), task=task, objective=objective, max_length=options.max_length,
        batch_size=options.per_device_eval_batch_size, loss_on=options.loss_on, system_prompt=options.system_prompt, gpus=gpus,
        share_gpu=share_gpu, planned_memory_bytes=loaded_bytes([entry.path, *(adapter.path for adapter in found)]),
    )  # fmt: skip


def _task_of(model: ModelEntry, adapters: Sequence[AdapterEntry], columns: Mapping[str, str] | None) -> Task:
    """The one task of all ``adapters``; without any, what the model's kind allows.

    Raises:
        Incompatible: some write text and some classify.
    """
    tasks: dict[str, Task] = {adapter.name: task_of(Path(adapter.path)) for adapter in adapters}
    if len(set(tasks.values())) > 1:
        listed = ", ".join(f"{name} ({task})" for name, task in tasks.items())
        raise Incompatible(f"these adapters are for different tasks: {listed}", "evaluate those of each task apart")
    return next(iter(tasks.values())) if tasks else choose_task(read_model(Path(model.path)), columns)


def merge_request(
    home: Home, *, model: str, adapter: str, out: str | Path, verify: bool = False, force: bool = False, gpus: str = "auto"
) -> MergeRequest:
    """Check and resolve a merge.

    Args:
        out: folder to write; below ``home.models`` it joins the catalog by itself.

    Raises:
        Incompatible: the adapter belongs to another base (unless ``force`` and only the recorded digest differs).
        NameTaken: ``out`` exists.
    """
    catalog = Catalog(home)
    base, found = catalog.model(model), catalog.adapter(adapter)
    require_trainable(base)
    catalog.check_pair(base, found, ignore_digest=force)
    target = Path(out).expanduser().absolute()
    if target.exists() or target.is_symlink():
        raise NameTaken(f"{target} exists already", "choose another --out, or remove it first")
    return MergeRequest(
        model=model, model_path=base.path, base_model_name_or_path=base.hub_id or base.path, adapter=found.path,
        output=str(target), verify=verify, force=force, gpus=gpus,
    )  # fmt: skip


def start(home: Home, kind: RunKind, name: str, request: msgspec.Struct, *, queue: bool = False, priority: int = 0) -> Run:
    """Create a run's directory and start it, detached, or let it wait in the queue; returns as `launch` does.

    Args:
        request: the request struct of the kind.
    """
    run = RunStore(home).create(kind, name, request)
    launch(run, queue=queue, priority=priority)
    return run
