"""Disk space that a training run will take: checkpoints while it goes on, and beside them its result at the end."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from ..api import Artifact
from ..errors import DoesNotFit
from ..training import TrainingOptions
from .memory import ADAM_BYTES, human_bytes


@dataclass(frozen=True, slots=True)
class DiskNeed:
    """What a run writes, in bytes.

    Attributes:
        checkpoint: one checkpoint: what trains in float32, and the optimizer's state of it.
        checkpoints: how many there are at most at a time: those kept, the best, and one that is being written.
        result: what the run publishes.
    """

    checkpoint: int
    checkpoints: int
    result: int

    @property
    def least(self) -> int:
        """Without so much the run cannot end well: `Checkpoints.make_room` leaves the newest, and the result comes beside it."""
        return self.checkpoint + self.result

    @property
    def most(self) -> int:
        """So much is taken at the most."""
        return self.checkpoint * self.checkpoints + self.result


def disk_need(trainable_parameters: int, artifact: Artifact, training: TrainingOptions, *, model_bytes: int, parameters: int) -> DiskNeed:
    """The need of one run.

    Args:
        artifact: `Method.artifact`.
        model_bytes: of the base's weight files.
        parameters: of the base.
    """
    stored = {"adapter": 4.0 * trainable_parameters, "delta": trainable_parameters * model_bytes / max(1, parameters), "model": model_bytes}
    return DiskNeed(
        checkpoint=round(trainable_parameters * (4 + ADAM_BYTES[training.optim])),
        checkpoints=training.save_total_limit + 2,
        result=round(stored[artifact]),
    )


def require_disk(need: DiskNeed, folder: Path) -> None:
    """Let a run pass that the disk of ``folder`` may have room for.

    Raises:
        DoesNotFit: there is not even room for one checkpoint and the result.
    """
    free = shutil.disk_usage(next(place for place in (folder, *folder.parents) if place.is_dir())).free
    if free < need.least:
        raise DoesNotFit(
            f"{folder}: {human_bytes(free)} are free, a checkpoint ({human_bytes(need.checkpoint)}) and the result "
            f"({human_bytes(need.result)}) need {human_bytes(need.least)}",
            "free some space, use another --home, or take a method that trains fewer parameters",
        )


def shortage(need: DiskNeed, folder: Path, existing: int) -> str:
    """What to say where the checkpoints to come may not all have room beside ``existing`` ones; empty where they do."""
    free = shutil.disk_usage(folder).free
    missing = need.most - existing * need.checkpoint
    if free >= missing:
        return ""
    return (
        f"{human_bytes(free)} of disk are free; up to {need.checkpoints} checkpoints of {human_bytes(need.checkpoint)} and the result "
        f"({human_bytes(need.result)}) take {human_bytes(missing)}: old checkpoints will be removed early where room is short"
    )
