"""Evaluation: the loss of a base and its adapters on the same rows, one base loaded once. A job, and a function for others.

The loss is what ``model(input_ids, labels=labels)`` of plain transformers gives row by row, averaged over the tokens that
carry loss: nothing is packed, padding is on the right and masked, weights keep the dtype they are stored in.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from .. import registry
from ..api import DataError, Encoded
from ..catalog.manifest import read_manifest
from ..data.shaping import examples
from ..planner.reading import read_model
from ..runs.job import Job, Stopped, run_job
from ..runs.spec import EvaluateRequest
from .batches import Batch, collate
from .encoding import EncodingOptions, encode_examples
from .engine import Engine
from .forward import takes_positions_to_keep
from .rendering import ChatRenderer

_LOGITS_BYTES = 1 << 29
"""Batches are made smaller than asked for where their float32 logits would need more than this."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Figures of one model on one set of rows.

    Attributes:
        loss: mean cross-entropy in nats over the tokens that carry loss.
        perplexity: its exponential; infinite where that overflows.
        tokens: that carry loss.
    """

    loss: float
    perplexity: float
    tokens: int


@torch.no_grad()
def evaluate(
    model: Any,
    encoded: Sequence[Encoded],
    batch_size: int,
    device: torch.device | str,
    on_progress: Callable[[int, int], None] | None = None,
) -> Scores:
    """Score ``model``, which is left in the mode it was in.

    Args:
        batch_size: rows at most in a forward pass.
        on_progress: called after every batch with rows done and rows in all.

    Raises:
        DataError: no token carries loss.
    """
    training = model.training
    model.eval()
    total, tokens, done = 0.0, 0, 0
    try:
        for batch in _batches(encoded, batch_size, torch.device(device), model.config.vocab_size):
            if batch.targets.numel():
                total += _summed_loss(model, batch)
                tokens += batch.targets.numel()
            done += batch.input_ids.shape[0]
            if on_progress is not None:
                on_progress(done, len(encoded))
    finally:
        model.train(training)
    if not tokens:
        raise DataError("no token of the evaluation rows carries loss", "answers are empty, or cut off by max_length")
    loss = total / tokens
    return Scores(loss, math.exp(loss) if loss < 700 else math.inf, tokens)


def _batches(encoded: Sequence[Encoded], size: int, device: torch.device, vocabulary: int) -> Iterator[Batch]:
    """Padded batches, longest rows first, so that what does not fit is found at once."""
    ordered = sorted(encoded, key=lambda row: len(row.input_ids), reverse=True)
    start = 0
    while start < len(ordered):
        fitting = _LOGITS_BYTES // (4 * vocabulary * len(ordered[start].input_ids))
        rows = ordered[start : start + max(1, min(size, fitting))]
        yield from collate(rows, packed=False, pad_id=0, device=device)
        start += len(rows)


def _summed_loss(model: Any, batch: Batch) -> float:
    """Cross-entropy summed over a padded batch's loss tokens; logits only from the first column that predicts one."""
    assert batch.predicts is not None
    columns = batch.input_ids.shape[1]
    first = int(batch.predicts.any(0).nonzero()[0])
    arguments: dict[str, Any] = {"input_ids": batch.input_ids, "use_cache": False}
    if batch.attention_mask is not None:
        arguments["attention_mask"] = batch.attention_mask
    if takes_positions_to_keep(model):
        arguments["logits_to_keep"] = columns - first
    logits = model(**arguments).logits[:, -(columns - first) :]  # counted from the end: virtual tokens come in front
    chosen = logits[batch.predicts[:, first:]].float()
    return cross_entropy(chosen, batch.targets, reduction="sum").item()


def main(job: Job) -> dict[str, Any]:
    """The job: evaluates the base and each adapter; returns ``{"rows": [...]}``, the base first with ``adapter: null``."""
    request = job.request(EvaluateRequest)
    engine = Engine(Path(request.model_path))
    encoded = _encode(engine, request)
    job.event("prepared", f"{len(encoded)} rows, {len(request.adapters)} adapters", device=str(engine.device), rows=len(encoded))
    subjects: list[dict[str, str] | None] = [None, *request.adapters]
    rows: list[dict[str, Any]] = []
    for number, subject in enumerate(subjects):
        if job.stop_requested():
            raise Stopped({"rows": rows})
        rows.append(_row(job, engine, request, encoded, subject, number, len(subjects)))
    return {"rows": rows}


def _encode(engine: Engine, request: EvaluateRequest) -> list[Encoded]:
    dataset = examples(request.data, request.columns, request.objective)
    return encode_examples(
        dataset.examples,
        ChatRenderer(engine.tokenizer),
        registry.load("objectives", dataset.objective),
        EncodingOptions(_max_length(engine, request), request.loss_on, request.system_prompt),
    ).encoded


def _row(
    job: Job, engine: Engine, request: EvaluateRequest, encoded: list[Encoded], subject: dict[str, str] | None, number: int, count: int
) -> dict[str, Any]:
    """Evaluate the base (``subject`` none) or one adapter, which is dropped from memory again afterwards."""
    name = subject["name"] if subject else request.model
    note = _note(Path(subject["path"])) if subject else {}
    key = None
    if subject is not None:
        key = str(number)
        engine.add(key, Path(subject["path"]))
    engine.activate(key)
    started = time.perf_counter()
    scores = evaluate(
        engine.model,
        encoded,
        request.batch_size,
        engine.device,
        lambda done, total: job.progress(number * total + done, count * total, "rows"),
    )
    seconds = time.perf_counter() - started
    if key is not None:
        engine.remove(key)
    job.event("evaluation", f"{name}: loss {scores.loss:.4f}", name=name, loss=scores.loss)
    if note:
        job.event("warning", f"{name}: {note['note']}")
    return {
        "adapter": subject["path"] if subject else None,
        "name": name,
        "loss": scores.loss,
        "perplexity": scores.perplexity if math.isfinite(scores.perplexity) else None,
        "accuracy": None,
        "f1": None,
        "tokens": scores.tokens,
        "rows": len(encoded),
        "seconds": seconds,
        "max_length": _max_length(engine, request),
        "base": f"as stored ({str(engine.base.dtype).removeprefix('torch.')})",
        **note,
    }


def _max_length(engine: Engine, request: EvaluateRequest) -> int:
    return min(request.max_length, read_model(engine.path).max_length)


def _note(adapter: Path) -> dict[str, str]:
    """What a reader of the figures must know of an adapter that was trained on another base than it is evaluated on."""
    manifest = read_manifest(adapter)
    if manifest is None or manifest.method != "qlora":
        return {}
    return {"note": "trained on the base in 4 bits, evaluated on the base as stored; `finetui merge` keeps the 4-bit weights"}


if __name__ == "__main__":
    run_job(main)
