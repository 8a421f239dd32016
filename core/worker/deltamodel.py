"""A whole model from a base and a delta, file by file: no model is loaded, and no more than one file is in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch

from ..api import Task
from ..catalog.digest import DELTA_FILE, weight_files
from ..errors import Incompatible, Refused
from ..fsio import read_json, write_json
from ..modelspec import companions
from ..planner.headers import INDEX_FILE
from ..planner.tasks import is_classifier, is_other_head
from .deltas import StoredTensors
from .loading import load_tokenizer
from .tensorfiles import load_tensors, save_tensors


def write_whole(base: Path, delta: Path, output: Path, task: Task, labels: Sequence[str], sample: Callable[[], Any]) -> dict[str, Any]:
    """Write the model that ``delta`` makes of ``base`` into the (existing, empty) folder ``output``, and compare it with both.

    Files, names and dtypes are the base's. A classifier has its head in the last file, and no head over the vocabulary.

    Args:
        labels: names of the classes of ``seq-cls``.
        sample: called where most memory is in use.

    Returns:
        ``passed``; ``tensors`` compared, ``replaced`` of them by the delta's; ``max_abs_diff``: 0, as they are equal bit for bit.

    Raises:
        Incompatible: a tensor of the delta has another shape than the base's.
        Refused: what was read back is not what was to be written.
        DiskError: the disk is full.
    """
    own = load_tensors(delta / DELTA_FILE)
    files = weight_files(base)
    with StoredTensors(base) as stored:
        added = {name: tensor for name, tensor in own.items() if name not in stored.names}
        where: dict[str, str] = {}
        for file in files:
            names = [name for name in stored.in_file(file) if name in own or task == "causal-lm" or not is_other_head(name)]
            tensors = {name: _replaced(name, stored[name], own, task) for name in names}
            if file == files[-1]:
                tensors |= added
            save_tensors(output / file.name, tensors)
            sample()
            where |= dict.fromkeys(tensors, file.name)
        _write_companions(base, output, where, task, labels)
        return _compare(stored, own, output)


def _replaced(name: str, before: torch.Tensor, own: dict[str, torch.Tensor], task: Task) -> torch.Tensor:
    """A tensor of the base, or the delta's in its place; only a head may have another shape, as for other classes."""
    after = own.get(name, before)
    if after.shape != before.shape and not (task == "seq-cls" and is_classifier(name)):
        shapes = f"{tuple(after.shape)} in the delta and {tuple(before.shape)} in the base"
        raise Incompatible(f"the delta does not belong to this base: {name} is {shapes}", "`finetui adapters show` names its base")
    return after


def _write_companions(base: Path, output: Path, where: dict[str, str], task: Task, labels: Sequence[str]) -> None:
    """The base's configuration, tokenizer and licence; a classifier's configuration; the index of several files."""
    for file in companions(base):
        if task == "seq-cls" and file.name == "generation_config.json":
            continue
        shutil.copyfile(file, output / file.name)
    if task == "seq-cls":
        write_json(output / "config.json", _classifier_config(base, labels))
    if (base / INDEX_FILE).is_file():
        size = sum(tensor.nbytes for file in weight_files(base) for tensor in load_tensors(output / file.name).values())
        write_json(output / INDEX_FILE, {"metadata": {"total_size": size}, "weight_map": dict(sorted(where.items()))})


def _classifier_config(base: Path, labels: Sequence[str]) -> dict[str, Any]:
    """The base's ``config.json``, as transformers writes it for a classifier of these classes."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES

    config = read_json(base / "config.json")
    names = {str(number): name for number, name in enumerate(labels)}
    return config | {
        "architectures": [MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES[config["model_type"]]],
        "id2label": names, "label2id": {name: int(number) for number, name in names.items()},
        "problem_type": "single_label_classification", "pad_token_id": load_tokenizer(base).pad_token_id,
    }  # fmt: skip


def _compare(stored: StoredTensors, own: dict[str, torch.Tensor], output: Path) -> dict[str, Any]:
    with StoredTensors(output) as written:
        for name in written.names:
            expected = own[name] if name in own else stored[name]
            found = written[name]
            if found.dtype != expected.dtype or not torch.equal(found, expected):
                raise Refused(f"{name} read back from disk is not what was written", "nothing was kept; check the disk and try again")
        lost = own.keys() - set(written.names)
        if lost:
            raise Refused(f"the written model lacks {min(lost)} of the delta", "nothing was kept; check the disk and try again")
        return {"passed": True, "tensors": len(written.names), "replaced": len(own), "max_abs_diff": 0.0}
