"""A job in several processes, one a device: how many there are, how they are started, and where each says how it ended.

They are called *ranks*, as torchrun numbers them. Rank 0 writes what a job of one process writes, but for ``result.json``, which
is the launcher's (`core.worker.launcher`); what a rank has to say about its own end is in ``ranks/N.json`` of the run's folder.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from .. import fsio
from ..errors import CorruptFile
from .spec import JOB_MODULES, Result, RunSpec

LAUNCHER = "finetui.core.worker.launcher"

_FOLDER = "ranks"


def process_count(spec: RunSpec, devices: Sequence[str]) -> int:
    """Processes of a run's job on these devices (`Lease.devices`): training has one for each GPU, on the CPU as many as it asks for."""
    if spec.kind != "train":
        return 1
    if list(devices) == ["cpu"]:
        return int(spec.request.get("training_options", {}).get("num_processes", 1))
    return len(devices)


def job_arguments(spec: RunSpec, folder: Path, devices: Sequence[str]) -> list[str]:
    """What follows ``python -m`` to start a run's job."""
    module = spec.module or JOB_MODULES[spec.kind]
    count = process_count(spec, devices)
    return [module, str(folder)] if count == 1 else [LAUNCHER, str(folder), module, str(count)]


def own_rank(run: str) -> int | None:
    """The rank of this process in the job of ``run``, as torchrun's agent set it; none where it is the whole job."""
    return int(os.environ["RANK"]) if os.environ.get("TORCHELASTIC_RUN_ID") == run else None


def fresh_folder(folder: Path) -> Path:
    """The folder of a run in which its ranks meet and leave their results, emptied."""
    import shutil

    shared = folder / _FOLDER
    with fsio.disk_errors(shared):
        shutil.rmtree(shared, ignore_errors=True)
        shared.mkdir()
    return shared


def meeting_file(folder: Path) -> Path:
    """The file through which the ranks of a run find each other: no port is open to anyone else."""
    return folder / _FOLDER / "store"


def result_file(folder: Path, rank: int) -> Path:
    """Where a rank writes how it ended."""
    return folder / _FOLDER / f"{rank}.json"


def read_rank_result(folder: Path, rank: int) -> Result | None:
    """How a rank ended, in its own words; nothing where it did not come to that."""
    try:
        return fsio.read_json(result_file(folder, rank), Result)
    except (FileNotFoundError, CorruptFile):
        return None
