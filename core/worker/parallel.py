"""Data parallelism: every process holds the whole model and trains on its share of a step's examples.

Processes are numbered by rank. Numbers and small values go through gloo, also on GPUs, where tensors go through NCCL. A `World`
of one process answers without communicating, so that the training loop reads the same for one and for many.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import msgspec
import torch
import torch.distributed as dist
from torch import nn

from ..errors import ProcessLost
from ..runs.job import Job
from ..runs.ranks import meeting_file
from .optim import held

_PATIENCE = timedelta(hours=2)
"""How long the others wait while one tokenises, or writes a large checkpoint. One that died is noticed at once."""

_BUCKET_ELEMENTS = 2**24
"""Gradients summed in one go, in float32: 64 MiB."""

_SAMPLED = 4096
"""Elements of a tensor that tell whether two processes hold the same."""


@dataclass(frozen=True)
class World:
    """The processes of a training, seen from one of them.

    All of them must make the same calls in the same order.

    Attributes:
        rank: of this process, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the process that writes: rank 0."""
        return self.rank == 0

    def gather(self, *numbers: float) -> list[list[float]]:
        """``numbers`` of every process, by rank, as float64."""
        if self.size == 1:
            return [list(numbers)]
        own = torch.tensor(numbers, dtype=torch.float64)
        rows = [torch.empty_like(own) for _ in range(self.size)]
        with _together():
            dist.all_gather(rows, own)
        return [row.tolist() for row in rows]

    def sum(self, *numbers: float) -> list[float]:
        """Each of ``numbers`` summed over the processes."""
        return [sum(column) for column in zip(*self.gather(*numbers))]

    def most(self, *numbers: float) -> list[float]:
        """The largest of each of ``numbers`` over the processes."""
        return [max(column) for column in zip(*self.gather(*numbers))]

    def any(self, flag: bool) -> bool:
        """Whether ``flag`` is set in any process."""
        return flag if self.size == 1 else self.sum(flag)[0] > 0

    def exchange(self, value: Any) -> list[Any]:
        """``value`` of every process, by rank: anything that MessagePack knows, bytes included."""
        if self.size == 1:
            return [value]
        own = torch.frombuffer(bytearray(msgspec.msgpack.encode(value)), dtype=torch.uint8)
        sizes = [int(size) for (size,) in self.gather(len(own))]
        rows = [torch.empty(max(sizes), dtype=torch.uint8) for _ in sizes]
        with _together():
            dist.all_gather(rows, nn.functional.pad(own, (0, max(sizes) - len(own))))
        return [msgspec.msgpack.decode(row[:size].numpy().tobytes()) for row, size in zip(rows, sizes)]

    def sum_gradients(self, parameters: Sequence[nn.Parameter]) -> None:
        """Sum the gradients over the processes, in float32; a parameter that has none anywhere keeps none."""
        if self.size == 1:
            return
        found = self.sum(*(parameter.grad is not None for parameter in parameters))
        for bucket in _buckets(parameter for parameter, count in zip(parameters, found) if count):
            _sum_bucket(bucket)

    def same_start(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        """Give every process rank 0's values of what trains.

        Frozen weights come from the same files: they are compared, and sent only where they differ (a start that is computed from
        them, such as PiSSA's, changes them too). Sending all of them would copy pages that are only mapped into memory.
        """
        if self.size == 1:
            return
        trained = held(optimizer)
        with torch.no_grad(), _together():
            for weight, exact in trained:
                dist.broadcast(exact.detach(), 0)
                if exact is not weight:
                    weight.copy_(exact)
        known = {id(weight) for weight, _ in trained}
        frozen = [tensor for tensor in (*model.parameters(), *model.buffers()) if id(tensor) not in known]
        rows = self.gather(*(_fingerprint(tensor) for tensor in frozen))
        with torch.no_grad(), _together():
            for tensor, *marks in zip(frozen, *rows):
                if any(mark != marks[0] for mark in marks):
                    dist.broadcast(tensor.detach(), 0)

    def leave(self) -> None:
        """Say goodbye: nothing is communicated from here on."""
        if self.size > 1:
            dist.destroy_process_group()


ALONE = World()
"""One process."""


def join(job: Job, device: torch.device) -> World:
    """Meet the other processes of the job; returns when all are there.

    Raises:
        ProcessLost: they did not come.
    """
    if job.rank is None:
        return ALONE
    size = int(os.environ["WORLD_SIZE"])
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.set_device(device)
    with _together():
        dist.init_process_group(
            "cpu:gloo,cuda:nccl" if on_gpu else "gloo", store=dist.FileStore(str(meeting_file(job.dir)), size), rank=job.rank,
            world_size=size, timeout=_PATIENCE, device_id=device if on_gpu else None,
        )  # fmt: skip
    return World(job.rank, size)


@contextlib.contextmanager
def _together() -> Iterator[None]:
    """Mark errors of communication as what they are: consequences of another process's end."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as problem:
        reason = str(problem).splitlines()[0]
        raise ProcessLost(
            f"another process of the run went away: {reason}", "its own error comes before this one in console.log"
        ) from problem


def _buckets(parameters: Iterable[nn.Parameter]) -> Iterator[list[nn.Parameter]]:
    """Neighbours together, up to `_BUCKET_ELEMENTS`; a larger one alone."""
    bucket: list[nn.Parameter] = []
    room = _BUCKET_ELEMENTS
    for parameter in parameters:
        if bucket and parameter.numel() > room:
            yield bucket
            bucket, room = [], _BUCKET_ELEMENTS
        bucket.append(parameter)
        room -= parameter.numel()
    if bucket:
        yield bucket


def _sum_bucket(bucket: list[nn.Parameter]) -> None:
    gradients = [torch.zeros_like(parameter) if parameter.grad is None else parameter.grad for parameter in bucket]
    if len(gradients) == 1 and gradients[0].dtype == torch.float32 and gradients[0].is_contiguous():
        flat = gradients[0].flatten()  # itself, without a copy
    else:
        flat = torch.cat([gradient.flatten().float() for gradient in gradients])
    with _together():
        dist.all_reduce(flat)
    for parameter, gradient, part in zip(bucket, gradients, flat.split([gradient.numel() for gradient in gradients])):
        parameter.grad = gradient.copy_(part.view_as(gradient))


def _fingerprint(tensor: torch.Tensor) -> float:
    """The sum of some elements, evenly spaced."""
    flat = tensor.detach().flatten()
    return float(flat[:: max(1, len(flat) // _SAMPLED)].double().sum())
