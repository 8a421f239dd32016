"""Measuring instead of counting: the largest micro-batch trained for real, a few times, to see what memory it takes."""

from __future__ import annotations

import contextlib
import gc
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch.profiler import ProfilerActivity, profile

from .. import registry
from ..api import Encoded, Method, ModelSpec, Task
from ..options import parse
from ..planner.case import Case, Data
from ..planner.reading import read_model
from ..planner.tasks import for_task
from ..training import TrainingOptions, within_context
from . import attention
from .batches import collate
from .building import load_arguments, make_ready
from .dryrun import dry_run, placeholder
from .forward import base_of
from .loading import compute_device, load_base
from .losses import LossFunction
from .memory import MemoryMeter, keep_freed_memory
from .optim import MasterCopyAdamW, build_optimizer
from .precision import Precision, choose
from .rehearsal import free_bytes, here, too_large

STEPS = 3
"""The first builds kernels and makes the optimizer's states; from the second on memory is what it stays."""


class Probe(msgspec.Struct, kw_only=True):
    """What training one micro-batch really takes.

    Attributes:
        peak_memory_bytes: as runs measure it: on CUDA the allocator's peak reserved, on a CPU the growth of anonymous memory.
        live_bytes: of tensors at the moment of most: parameters, optimizer, gradients, activations, and what kernels allocate in
            between. What lies between the two is the allocator's.
        seconds: of the last step.
        tokens: of the micro-batch.
    """

    peak_memory_bytes: int
    live_bytes: int
    seconds: float
    tokens: int


def probe_folder(
    *,
    model_path: str,
    method: str,
    method_options: Mapping[str, Any],
    training_options: Mapping[str, Any],
    task: Task,
    num_labels: int,
    lengths: Sequence[int],
    loss_lengths: Sequence[int],
) -> dict[str, Any]:
    """`probe` as a session's operation, on one micro-batch of examples of these lengths, whatever they say.

    Returns:
        `Probe` and ``device``.

    Raises:
        DoesNotFit: the dry run counts more than the device has free.
    """
    read = read_model(Path(model_path))
    spec = for_task(read, task, num_labels)
    options = within_context(parse(TrainingOptions, training_options, owner="training"), spec.max_length)
    plugin: Method = registry.load("methods", method)
    own = parse(plugin.options, method_options, owner=f"method '{method}'")
    device = compute_device()
    precision = choose(device, options.bf16, options.fp16)
    examples = [placeholder(length, loss, task) for length, loss in zip(lengths, loss_lengths, strict=True)]
    free, found = free_bytes(device), None
    with contextlib.suppress(Exception):  # a library may ask for contents: then there is no dry run
        found = dry_run(spec, plugin, own, options, examples, device=device, precision=precision)
    if found is not None and found.total_bytes > free:
        raise too_large(found, Case(spec, plugin, own, options, Data(lengths, loss_lengths, free, here(device))))
    keep_freed_memory()
    labels = [str(number) for number in range(num_labels)]
    measured = probe(spec, plugin, own, options, examples, device=device, precision=precision, labels=labels)
    return {**msgspec.to_builtins(measured), "device": str(device)}


def probe(
    spec: ModelSpec,
    method: Method,
    method_options: Any,
    options: TrainingOptions,
    examples: Sequence[Encoded],
    *,
    device: torch.device,
    precision: Precision,
    labels: Sequence[str] = (),
) -> Probe:
    """Load the base, apply the method and train ``examples`` for `STEPS` optimizer steps.

    Args:
        spec: made for the task; with weights.
        examples: of the largest micro-batch.
        labels: names of the classes of ``seq-cls``.

    Raises:
        OutOfMemory, and what else `load_base` raises.
    """
    meter = MemoryMeter(device)
    arguments = load_arguments(method, method_options, options, spec.config, device)
    base = load_base(spec.path, dtype=precision.dtype, device=device, load_arguments=arguments, task=spec.task, labels=labels, head_seed=0)
    model = method.prepare(base, method_options, spec.task)  # pyright: ignore[reportArgumentType]
    make_ready(model, base, options)
    packed = options.packing and method.packs and spec.task == "causal-lm" and attention.enable(base_of(model), precision)
    optimizer = build_optimizer(model, method, method_options, options, precision)
    loss_function = LossFunction(model, precision)
    batches = collate(examples, packed=packed, pad_id=0, device=device) * (2 if options.gradient_accumulation_steps > 1 else 1)
    model.train()

    def step() -> None:
        for batch in batches:
            with precision.autocast():
                loss = loss_function(batch)
            meter.sample()
            (loss / len(batch.targets)).backward()
            meter.sample()
        optimizer.step()
        meter.sample()
        optimizer.zero_grad(set_to_none=True)

    seconds = 0.0
    for _ in range(STEPS):
        began = time.perf_counter()
        step()
        seconds = time.perf_counter() - began
    peak = meter.peak
    live = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else _held(model, optimizer) + _allocated(step)
    return Probe(peak_memory_bytes=peak, live_bytes=live, seconds=seconds, tokens=sum(batch.tokens for batch in batches))


def _allocated(step: Any) -> int:
    """Most bytes that torch's CPU allocator gave out at once during a call of ``step``, over what was out before."""
    gc.collect()  # what an earlier model left must not be freed, and taken off, in the middle
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as recorded:
        step()
    events: list[Any] = list(recorded.profiler.kineto_results.events())  # pyright: ignore[reportOptionalMemberAccess]
    changes = [event for event in events if event.name() == "[memory]"]
    now = most = 0
    for change in sorted(changes, key=lambda event: event.start_ns()):
        now += change.nbytes()
        most = max(most, now)
    return most


def _held(model: Any, optimizer: torch.optim.Optimizer) -> int:
    """Bytes of what stays from step to step."""
    sizes = {}
    for tensor in _lasting(model, optimizer):
        storage = tensor.untyped_storage()
        sizes[storage._cdata] = storage.nbytes()
    return sum(sizes.values())


def _lasting(model: Any, optimizer: torch.optim.Optimizer) -> Iterator[torch.Tensor]:
    yield from model.parameters()
    yield from model.buffers()
    for parameter in model.parameters():
        state = getattr(parameter, "quant_state", None)
        for holder in (state, getattr(state, "state2", None)):
            yield from (value for value in vars(holder).values() if isinstance(value, torch.Tensor)) if holder is not None else ()
    for state in optimizer.state.values():
        yield from (value for value in state.values() if isinstance(value, torch.Tensor))
    if isinstance(optimizer, MasterCopyAdamW):
        yield from (master for _, master in optimizer.pairs)
