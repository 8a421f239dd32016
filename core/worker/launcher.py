"""The job of a run on several devices: ``python -m finetui.core.worker.launcher RUN_DIR MODULE COUNT``.

Starts ``python -m MODULE RUN_DIR`` once a device through torchrun's agent, passes requests to stop on, and ends with what the
processes say: rank 0's result, or the error of the rank that failed first.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from ..errors import FineTUIError, OutOfMemory, ProcessLost, WorkFailed, error_from_dict
from ..runs import ranks, records
from ..runs.failure import LESS_MEMORY
from ..runs.job import Job, Stopped, run_job
from ..runs.spec import Result
from ..runs.verdict import memory_kills

SHUTDOWN_SECONDS = 3
"""What the other ranks are given to end by themselves when one has failed; one that waits for it in a collective cannot."""

RANK_ENVIRONMENT: dict[str, str] = {
    # Ranks talk to each other on this machine only.
    "GLOO_SOCKET_IFNAME": "lo",
    "NCCL_SOCKET_IFNAME": "lo",
    # The agent's own store, which listens on every interface, is not needed: they meet in a file.
    "TORCH_DISABLE_SHARE_RDZV_TCP_STORE": "1",
}


def main(job: Job) -> dict[str, Any]:
    """Run the ranks to their end.

    Raises:
        Stopped: they stopped on request.
        FineTUIError: one failed; the others were ended.
    """
    module, count = sys.argv[2], int(sys.argv[3])
    _pass_signals_on(job)
    prepare_environment(count)
    kills = memory_kills()
    try:
        elastic_launch(_configuration(job, count), sys.executable)("-P", "-m", module, str(job.dir))
    except ChildFailedError as problem:
        raise cause_of(job.dir, problem.failures, out_of_memory=memory_kills() > kills) from None
    first = ranks.read_rank_result(job.dir, 0)
    if first is None:
        raise WorkFailed("rank 0 ended without a result", f"see {job.dir}/console.log")
    if first.state == "stopped":
        raise Stopped(first.result)
    return first.result


def prepare_environment(count: int) -> None:
    """What the ranks inherit; each computes with its share of the cores. What the user has set himself wins."""
    threads = max(1, len(os.sched_getaffinity(0)) // count)
    for name, value in {**RANK_ENVIRONMENT, "OMP_NUM_THREADS": str(threads)}.items():
        os.environ.setdefault(name, value)
    if os.environ.get("CUDA_VISIBLE_DEVICES"):  # which the agent divides among the ranks; on AMD, HIP's own variable would win
        os.environ.pop("HIP_VISIBLE_DEVICES", None)


def _pass_signals_on(job: Job) -> None:
    """SIGINT and SIGTERM become the request that every rank looks for; the second interrupts as in any job (`Job.on_signal`)."""

    def on_signal(number: int, frame: FrameType | None) -> None:
        records.request(job.dir, records.STOP)
        job.on_signal(number, frame)

    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGTERM, on_signal)


def _configuration(job: Job, count: int) -> LaunchConfig:
    folder = ranks.fresh_folder(job.dir)
    return LaunchConfig(
        min_nodes=1, max_nodes=1, nproc_per_node=count, run_id=job.spec.run, max_restarts=0, local_addr="localhost",
        rdzv_backend="c10d", rdzv_endpoint=str(folder / "agent"), rdzv_configs={"store_type": "file"},
        signals_to_handle="SIGQUIT",  # the other signals are the job's own
        shutdown_timeout=SHUTDOWN_SECONDS,
        virtual_local_rank=bool(os.environ.get("CUDA_VISIBLE_DEVICES")),  # a rank sees its own GPU only, as ``cuda:0``
    )  # fmt: skip


def cause_of(folder: Path, failures: Mapping[int, ProcessFailure], *, out_of_memory: bool) -> FineTUIError:
    """The error that a run ends with when ranks failed: that of the first one which did not fail because of another.

    Args:
        failures: by rank, as torchrun's agent saw them.
        out_of_memory: whether the kernel killed something for want of memory meanwhile.
    """
    said = {rank: result for rank in sorted(failures) if (result := ranks.read_rank_result(folder, rank)) is not None and result.error}
    own = {rank: result for rank, result in said.items() if _error(result).kind != ProcessLost.kind}
    if own:
        return _told(own)
    silent = {rank: failure for rank, failure in failures.items() if rank not in said}
    if silent:
        return _untold(silent, out_of_memory, folder)
    return _told(said)


def _error(result: Result) -> FineTUIError:
    return error_from_dict(result.error or {})


def _told(results: Mapping[int, Result]) -> FineTUIError:
    """The error that came first, with the rank where the ranks do not all say the same; other errors below it."""
    ordered = sorted(results, key=lambda rank: results[rank].finished)
    first = _error(results[ordered[0]])
    messages = {rank: _error(results[rank]).message for rank in ordered}
    if set(messages.values()) == {first.message} and (len(messages) > 1 or first.exit_code > 1):
        return first  # of the data, say, or of the options: any rank would have found it
    lines = [f"rank {rank}: {message}" for rank, message in messages.items()]
    return error_from_dict({**first.to_dict(), "message": "\n".join(lines)})


def _untold(failures: Mapping[int, ProcessFailure], out_of_memory: bool, folder: Path) -> FineTUIError:
    """The error of ranks that left no word; those that the agent itself ended come last."""
    rank = min(failures, key=lambda rank: (failures[rank].exitcode == -signal.SIGTERM, failures[rank].timestamp))
    code = failures[rank].exitcode
    if code == -signal.SIGKILL and out_of_memory:
        return OutOfMemory(f"rank {rank}: the machine's memory was used up: the kernel killed the process", LESS_MEMORY)
    how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with exit code {code} and no result"
    return WorkFailed(f"rank {rank} {how}", f"see {folder}/console.log")


if __name__ == "__main__":
    run_job(main)
