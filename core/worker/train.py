"""The training job: ``python -m finetui.core.worker.train RUN_DIR``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import set_seed

from .. import registry
from ..api import DataError, Method, NameTaken
from ..options import parse
from ..planner.disk import disk_need, shortage
from ..planner.headers import weight_files
from ..planner.reading import read_model
from ..planner.tasks import for_task
from ..runs.job import Job, Stopped, run_job
from ..runs.spec import TrainRequest
from ..training import TrainingOptions, require_master_copies, require_pageable, within_context
from . import attention
from .batches import Schedule
from .building import load_arguments, make_ready
from .checkpoints import Checkpoints, Progress
from .corpus import Corpus, load_corpus
from .deltas import read_exactly
from .forward import base_of
from .loading import compute_device, load_base, load_tokenizer, quiet_libraries
from .loop import Loop, StopTraining
from .memory import MemoryMeter, keep_freed_memory
from .optim import build_optimizer, build_scheduler, held, settle
from .parallel import ALONE, World, join
from .precision import Precision, choose
from .publish import build_manifest, is_published, publish, read_sources
from .rehearsal import rehearse


def main(job: Job) -> dict[str, Any]:
    """Train as the run's `TrainRequest` says and publish the result.

    Returns:
        The run's figures: ``adapter`` (the published folder), ``steps``, ``loss``, ``eval``, …; nothing where another process reports.

    Raises:
        Stopped: on request; a checkpoint is saved and ``resume`` goes on from it.
        FineTUIError: see `load_base`, `load_tokenizer`, `load_corpus`, `Loop.run` and `publish`.
    """
    started = time.monotonic()
    keep_freed_memory()
    request = job.request(TrainRequest)
    quiet_libraries()
    if Path(request.output).exists() and not is_published(request, job.spec.run):
        raise NameTaken(f"{request.output} exists already", "train under another --name, or remove the old result first")
    world = join(job, device_of(request))
    loop = prepare(job, request, world)
    try:
        loop.run()
    except StopTraining:
        raise Stopped(figures(loop, request, time.monotonic() - started)) from None
    result = figures(loop, request, time.monotonic() - started)
    world.leave()
    if not world.is_main:
        return {}
    if not is_published(request, job.spec.run):
        metrics = manifest_metrics(result) | loop.method.result(loop.model, loop.method_options)
        manifest = build_manifest(
            request, loop.method, loop.method_options, loop.options,
            precision=loop.precision.name, run=job.spec.run, rows=loop.corpus.rows, metrics=metrics, sources=loop.sources,
            labels=loop.corpus.labels,
        )  # fmt: skip
        settle(loop.optimizer)
        publish(loop.model, loop.method, request, manifest)
    job.event("saved", f"saved {request.name}", path=request.output)
    return {**result, "adapter": request.output}


def device_of(request: TrainRequest) -> torch.device:
    """Where this process trains."""
    return torch.device("cpu") if request.gpus == "none" else compute_device()


def prepare(job: Job, request: TrainRequest, world: World = ALONE) -> Loop:
    """Everything up to the first step: data, base, method, optimizer, schedule."""
    folder = Path(request.model_path)
    spec = read_model(folder)
    method: Method = registry.load("methods", request.method)
    method_options = parse(method.options, request.method_options, owner=f"method '{method.name}'")
    positions = spec.max_length - method.footprint(spec, method_options).virtual_tokens
    options = within_context(parse(TrainingOptions, request.training_options, owner="training"), positions)
    device = device_of(request)
    precision = choose(device, options.bf16, options.fp16)
    require_pageable(options, device.type)
    if options.master_copy == "fp32":
        require_master_copies(method.name, method.artifact, precision.name)
    meter = MemoryMeter(device)
    set_seed(request.seed)

    corpus = read_together(job, request, options, load_tokenizer(folder), world)
    for sentence in corpus.warnings:
        job.event("warning", sentence)
    spec = for_task(spec, request.task, len(corpus.labels))
    schedule = Schedule(
        len(corpus.train), options.per_device_train_batch_size, options.gradient_accumulation_steps, request.seed, world.size, world.rank
    )  # fmt: skip
    total_steps = schedule.total_steps(options.max_steps, options.num_train_epochs)
    rehearse(job, spec, method, method_options, options, corpus.train, schedule, device=device, precision=precision)
    model = load_model(folder, method, method_options, options, request, device, precision, corpus.labels)
    sources = read_sources(job.home, request)
    packs = options.packing and method.packs and request.task == "causal-lm"
    packed = packs and attention.enable(base_of(model), precision)
    if packs and not packed:
        job.event("warning", f"{type(base_of(model)).__name__} cannot keep packed examples apart: they are padded instead, which is slower")

    optimizer = build_optimizer(model, method, method_options, options, precision)
    loop = Loop(
        job=job, model=model, method=method, method_options=method_options, options=options, spec=spec, corpus=corpus,
        precision=precision, device=device, packed=packed, schedule=schedule, total_steps=total_steps, optimizer=optimizer,
        scheduler=build_scheduler(optimizer, options, total_steps), meter=meter,
        checkpoints=Checkpoints(job.checkpoints, options.save_total_limit, writes=world.is_main), sources=sources,
        progress=Progress(data_digest=sources.data), world=world,
    )  # fmt: skip
    announce(loop)
    warn_of_disk(loop, folder)
    return loop


def read_together(job: Job, request: TrainRequest, options: TrainingOptions, tokenizer: Any, world: World) -> Corpus:
    """`read_corpus` in every process: one tokenises, the others wait for the cache; where a stop reaches one, all stop.

    Raises:
        DataError: there are fewer examples than processes.
    """
    try:
        corpus = read_corpus(job, request, options, tokenizer)
    except Stopped:
        corpus = None
    if world.any(corpus is None) or corpus is None:
        raise Stopped({"name": request.name, "adapter": None, "steps": 0})
    if len(corpus.train) < world.size:
        raise DataError(f"{len(corpus.train)} examples cannot be shared by {world.size} devices", "train on one device")
    return corpus


def read_corpus(job: Job, request: TrainRequest, options: TrainingOptions, tokenizer: Any) -> Corpus:
    """The run's data, with an event that says where it came from; a stop is heeded while it is tokenised."""
    started = said = time.monotonic()

    def on_rows(done: int) -> None:
        nonlocal said
        if job.stop_requested():
            raise Stopped
        if time.monotonic() - said > 10:
            said = time.monotonic()
            job.event("data", f"{done:,} rows tokenised" if done else "another run tokenises the same data: waiting for it", rows=done)

    corpus = load_corpus(request, options, tokenizer, job.home, on_rows)
    tokens, seconds = int(corpus.train.lengths.sum()), time.monotonic() - started
    how = "tokenised by an earlier run" if corpus.reused else f"tokenised in {seconds:.1f} s"
    job.event("data", f"{corpus.rows:,} rows, {tokens:,} tokens to train on: {how}", rows=corpus.rows, tokens=tokens, reused=corpus.reused)
    return corpus


def load_model(
    folder: Path,
    method: Method,
    method_options: Any,
    options: TrainingOptions,
    request: TrainRequest,
    device: torch.device,
    precision: Precision,
    labels: Sequence[str] = (),
) -> Any:
    """The base as the method wants it: frozen weights in the computation's precision, those that train in float32."""
    arguments = load_arguments(method, method_options, options, read_model(folder).config, device)
    base = load_base(
        folder, dtype=precision.dtype, device=device, load_arguments=arguments,
        task=request.task, labels=labels, head_seed=request.seed,
    )  # fmt: skip
    model = method.prepare(base, method_options, request.task)
    if method.artifact == "delta":
        read_exactly(model)
    make_ready(model, base, options)
    return model


def announce(loop: Loop) -> None:
    """Say what is about to happen."""
    trainable, total = parameter_counts(loop)
    where = f" on {loop.world.size} devices" if loop.world.size > 1 else ""
    loop.job.event(
        "prepared", f"{trainable:,} of {total:,} parameters train for {loop.total_steps} steps{where}",
        trainable_parameters=trainable, total_parameters=total, total_steps=loop.total_steps, train_examples=len(loop.corpus.train),
        eval_examples=len(loop.corpus.evaluation), device=str(loop.device), precision=loop.precision.name, packed=loop.packed,
        processes=loop.world.size, total_train_batch_size=loop.schedule.examples_per_step, threads=torch.get_num_threads(),
        **({"labels": loop.corpus.labels} if loop.corpus.labels else {}),
    )  # fmt: skip


def warn_of_disk(loop: Loop, base: Path) -> None:
    """Say so where the disk may not have room for all checkpoints and the result."""
    size = sum(file.stat().st_size for file in weight_files(base))
    trainable = parameter_counts(loop)[0]
    need = disk_need(trainable, loop.method.artifact, loop.options, model_bytes=size, parameters=loop.spec.parameters)
    words = shortage(need, loop.checkpoints.folder, len(loop.checkpoints.steps()))
    if words:
        loop.job.event("warning", words)


def parameter_counts(loop: Loop) -> tuple[int, int]:
    """Parameters that train now or will, and all of them (base and adapter; quantised ones counted once each)."""
    trainable = sum(parameter.numel() for parameter, _ in held(loop.optimizer))
    return trainable, loop.spec.parameters + loop.method.footprint(loop.spec, loop.method_options).added_parameters


def figures(loop: Loop, request: TrainRequest, seconds: float) -> dict[str, Any]:
    """The run's result so far. ``tokens_per_second`` is that of this attempt's steps on all devices, evaluations left out;
    ``peak_memory_bytes`` that of the process that needed most."""
    progress = loop.progress
    (peak,) = loop.world.most(loop.meter.peak)
    trainable, total = parameter_counts(loop)
    best = loop.options.load_best_model_at_end and progress.best_evaluation
    return loop.method.result(loop.model, loop.method_options) | {
        "name": request.name, "adapter": None, "steps": progress.step, "total_steps": loop.total_steps, "loss": progress.loss,
        "eval": best or progress.evaluation, "trainable_parameters": trainable, "total_parameters": total, "tokens": progress.tokens,
        "tokens_per_second": loop.session_tokens / loop.session_seconds if loop.session_seconds else None,
        "mfu": loop.utilisation.share(loop.utilisation.total, loop.session_seconds),
        "peak_memory_bytes": int(peak), "seconds": seconds, "labels": loop.corpus.labels,
        "processes": loop.world.size, "total_train_batch_size": loop.schedule.examples_per_step,
    }  # fmt: skip


def manifest_metrics(result: dict[str, Any]) -> dict[str, Any]:
    """The figures that travel with the result."""
    names = {"loss": "eval_loss", "perplexity": "perplexity", "accuracy": "accuracy", "f1": "f1"}
    evaluation = {name: result["eval"][key] for key, name in names.items() if result["eval"].get(key) is not None}
    keys = ("steps", "loss", "tokens", "trainable_parameters", "total_parameters", "tokens_per_second", "peak_memory_bytes", "seconds")
    keys += ("total_train_batch_size",)
    return {key: result[key] for key in keys} | evaluation


if __name__ == "__main__":
    run_job(main)
