"""What a run is asked to do, and the records that its files hold.

runs/<ulid>/
  spec.json       RunSpec, written once by the launcher
  state.json      RunState, replaced by whoever holds the run's lock (launcher until the supervisor starts, then it)
  lock            flock held by the supervisor while it lives
  events.jsonl    Event lines, appended by the job process; after its end by the notifier
  metrics.jsonl   plain dicts, appended by the job process
  devices.jsonl   readings of the leased devices' meters, appended by the supervisor
  result.json     Result, written by the job process as its last act
  result.N.json   Result of the earlier attempt N
  console.log     stdout and stderr of supervisor and job; console.1.log: what was in it before it grew too long
  checkpoints/    one folder a checkpoint
  control/        requests to the job, each an empty file: ``stop``, ``stop_now``, ``checkpoint``
  .reserve        disk space that an active run falls back on to say how it ended
"""

from __future__ import annotations

import os
import time
from typing import Any, Literal

import msgspec

from ..choices import LossOn, Task

RunKind = Literal["train", "evaluate", "compare", "merge", "export", "push", "pull"]
State = Literal["queued", "starting", "running", "stopping", "stopped", "succeeded", "failed", "lost"]

ACTIVE: frozenset[str] = frozenset({"queued", "starting", "running", "stopping"})
"""States in which something is still to happen."""

JOB_MODULES: dict[str, str] = {
    "train": "finetui.core.worker.train",
    "evaluate": "finetui.core.worker.evaluate",
    "compare": "finetui.core.compare.job",
    "merge": "finetui.core.worker.merge",
    "export": "finetui.core.worker.export",
    "push": "finetui.hub.jobs",
    "pull": "finetui.hub.jobs",
}
"""Run kind → module that the supervisor starts as ``python -m MODULE RUN_DIR``."""

LEADERS: frozenset[str] = frozenset({"compare"})
"""Kinds whose job computes nothing itself but starts other runs: it leases no device and hides none from them."""


class TrainRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides a training run. All paths are absolute; names are already resolved.

    Attributes:
        model: base model as the user named it.
        model_path: its folder.
        base_model_name_or_path: Hub id where the base has one, else its catalog name; goes into the adapter's config.
        data: training files.
        eval_data: evaluation files; empty: split ``eval_split`` off the training data.
        columns: renaming of columns, ``{"prompt": "question"}``.
        labels: names of the classes of ``seq-cls``, in order; empty: those of the training data.
        objective: name of the objective plugin; empty: by the shape of the data.
        method_options: values that differ from the method's defaults.
        training_options: values that differ from the defaults of `core.training.TrainingOptions`.
        name: of the result in the catalog.
        output: folder the result is published to (absent until the run succeeds).
        gpus: ``auto``, ``none``, or indices/UUIDs joined by commas.
        share_gpu: take a GPU beside others that share it, as far as the planned memory allows.
        options: every training and method option as it takes effect, for the record.
        planned_memory_bytes: the planner's peak, for the record.
        planned_tensor_bytes: what of it is not overhead.
        planned_overhead_bytes: the overhead, before anything was learned from past runs.
        split_seed: of the evaluation split, where runs with several seeds are to keep the same rows; none: ``seed``.
    """

    model: str
    model_path: str
    base_model_name_or_path: str
    base_revision: str = ""
    data: list[str]
    eval_data: list[str] = []
    eval_split: float = 0.1
    columns: dict[str, str] = {}
    task: Task = "causal-lm"
    labels: list[str] = []
    objective: str = ""
    method: str
    method_options: dict[str, Any] = {}
    training_options: dict[str, Any] = {}
    options: dict[str, Any] = {}
    seed: int = 0
    name: str
    output: str
    gpus: str = "auto"
    share_gpu: bool = False
    executor: str = "local"
    planned_memory_bytes: int = 0
    planned_tensor_bytes: int = 0
    planned_overhead_bytes: int = 0
    split_seed: int | None = None


class EvaluateRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Evaluate a base and any number of adapters on the same rows.

    Attributes:
        adapters: ``{"name", "path"}`` each.
        held_out: above 0: only the share of the rows that training with this split and ``split_seed`` keeps for evaluation.
        speed_tokens: above 0: also measure how fast each generates, over so many tokens a prompt (or classifies).
        keep_going: an adapter that cannot be evaluated becomes a row with its ``error``.
        planned_memory_bytes: of the weights and what comes with them; a batch's activations are not in it.
    """

    model: str
    model_path: str
    adapters: list[dict[str, str]] = []
    data: list[str]
    columns: dict[str, str] = {}
    task: Task = "causal-lm"
    objective: str = ""
    max_length: int = 1024
    batch_size: int = 8
    loss_on: LossOn = "assistant"
    system_prompt: str = ""
    held_out: float = 0.0
    split_seed: int = 0
    speed_tokens: int = 0
    keep_going: bool = False
    gpus: str = "auto"
    share_gpu: bool = False
    planned_memory_bytes: int = 0


class CompareEntry(msgspec.Struct, frozen=True, kw_only=True):
    """One training of a comparison: a method with one seed.

    Attributes:
        label: of the table's row; entries that differ only in their seed share it.
        name: of the run and of its result.
        request: a `TrainRequest` as a dict; empty where the method was refused beforehand.
        error: why it was, as `FineTUIError.to_dict` has it.
    """

    method: str
    label: str
    seed: int
    name: str
    request: dict[str, Any] = {}
    error: dict[str, str] | None = None


class CompareRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Train several methods on the same data, evaluate them on the same rows and put them into one table.

    Attributes:
        evaluation: an `EvaluateRequest` as a dict, its adapters still missing.
        devices: what ``--gpus`` said; the runs lease them, not the comparison.
    """

    model: str
    model_path: str
    data: list[str]
    task: str = "causal-lm"
    entries: list[CompareEntry]
    evaluation: dict[str, Any]
    devices: str = "auto"


class MergeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Merge an adapter into its base and write an ordinary model folder."""

    model: str
    model_path: str
    base_model_name_or_path: str
    adapter: str
    """Adapter folder."""
    output: str
    verify: bool = False
    force: bool = False
    """Merge although the adapter's recorded base digest differs."""
    gpus: str = "auto"


class ExportRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Write an artifact in another form.

    Attributes:
        model: base as the user named it, or the artifact itself where that is a whole model.
        model_path: its folder.
        adapter: folder of the adapter or delta on it; empty: the model alone.
        format: name of the exporter plugin.
        exporter_options: values that differ from the exporter's defaults.
        output: what to write.
        verify: compare what was written with its source.
    """

    model: str
    model_path: str
    base_model_name_or_path: str
    adapter: str = ""
    format: str
    exporter_options: dict[str, Any] = {}
    output: str
    verify: bool = True
    gpus: str = "auto"


class HubRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Push an adapter folder to a repository of a hub, or pull one."""

    hub: str
    repo: str
    revision: str = ""
    adapter: str = ""
    """Push: the adapter folder."""
    name: str = ""
    """Pull: catalog name of the result."""
    private: bool = True
    pull_request: bool = False
    settings: dict[str, Any] = {}
    home: str = ""


class RunSpec(msgspec.Struct, frozen=True, kw_only=True):
    """``spec.json``: written once, before anything starts.

    Attributes:
        run: ULID; sorts by time.
        request: one of the request structs above, as a dict (`TrainRequest` for kind ``train``, …).
        created: seconds since the epoch.
        module: job module of this run; empty: that of its kind (`JOB_MODULES`).
        parent: the run that started this one; empty: a person did.
    """

    run: str
    kind: RunKind
    name: str
    request: dict[str, Any]
    created: float
    host: str
    version: str
    module: str = ""
    parent: str = ""


class ProcessIdentity(msgspec.Struct, frozen=True):
    """A process that cannot be mistaken for a later one with the same pid (host + pid + start time + boot id)."""

    host: str
    pid: int
    start_time: int
    """Clock ticks since boot: field 22 of ``/proc/<pid>/stat``."""
    boot_id: str


class RunState(msgspec.Struct, kw_only=True):
    """``state.json``: where the run stands. Times are seconds since the epoch; ``None`` where not reached."""

    state: State = "queued"
    reason: str = ""
    attempt: int = 1
    supervisor: ProcessIdentity | None = None
    job: ProcessIdentity | None = None
    devices: list[str] = []
    started: float | None = None
    finished: float | None = None
    exit_code: int | None = None
    error: dict[str, str] | None = None
    overrides: dict[str, Any] = {}
    """Training options that this attempt takes instead of the request's, after one ran out of memory."""
    history: list[dict[str, Any]] = []
    """``{"state", "time", "reason"}`` of every change."""


class MetricLine(msgspec.Struct, frozen=True, gc=False):
    """What a screen shows of a line of ``metrics.jsonl``: the figures of a training step (``loss``) or of an evaluation (``eval_loss``).

    A line may have more, an adapter's gates for instance: who wants all of them reads it as a dict. Long files are read three times
    faster as these. Times are seconds, memory is bytes.
    """

    step: int = 0
    time: float = 0.0
    attempt: int = 1
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens: int | None = None
    tokens_per_second: float | None = None
    step_seconds: float | None = None
    data_seconds: float | None = None
    mfu: float | None = None
    memory_bytes: int | None = None
    peak_memory_bytes: int | None = None
    eval_loss: float | None = None
    eval_accuracy: float | None = None
    eval_f1: float | None = None


class Event(msgspec.Struct, kw_only=True, omit_defaults=True):
    """One line of ``events.jsonl``: something worth a line on the screen.

    Kinds used: ``dry_run`` (as `core.worker.dryrun.DryRun`, free_bytes), ``prepared`` (trainable_parameters, total_parameters,
    total_steps, train_examples, eval_examples, device, precision), ``resumed`` (step), ``checkpoint`` (step, path, best),
    ``evaluation`` (step, loss), ``sample`` (step, prompt, text), ``early_stop``, ``overfitting`` (step, since, eval_loss,
    eval_loss_before, loss, loss_before), ``diverging`` (step, what, value, usual), ``recovered`` (step), ``warning``, ``data`` (rows,
    tokens, reused), ``progress`` (done, total, unit), ``saved`` (path), ``child`` (run, name, state).
    """

    seq: int
    time: float
    kind: str
    message: str
    data: dict[str, Any] = {}
    attempt: int = 1


class Result(msgspec.Struct, kw_only=True):
    """``result.json``: how the job ended, in its own words.

    Attributes:
        state: ``succeeded``, ``stopped`` or ``failed``.
        result: what the job's function returned.
        error: ``{"kind", "message", "hint"}`` of a failed job.
        reason: why it ended, where neither of these says so.
    """

    state: State
    attempt: int
    finished: float
    exit_code: int = 0
    result: dict[str, Any] = {}
    error: dict[str, str] | None = None
    reason: str = ""


def effective_request(spec: RunSpec, state: RunState) -> dict[str, Any]:
    """The request as the current attempt takes it."""
    if not state.overrides:
        return spec.request
    changed = {key: {**spec.request.get(key, {}), **state.overrides} for key in ("training_options", "options")}
    return {**spec.request, **changed}


_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def new_ulid() -> str:
    """A fresh ULID: 48 bits of milliseconds, 80 random bits, Crockford base 32 (https://github.com/ulid/spec)."""
    number = (int(time.time() * 1000) << 80) | int.from_bytes(os.urandom(10), "big")
    return "".join(_CROCKFORD[(number >> shift) & 31] for shift in range(125, -1, -5))


def host_name() -> str:
    """This machine's name, as runs record it."""
    return os.uname().nodename
