"""Evaluation: the loss of a base and its adapters on the same rows, one base loaded once. A job, and a function for others.

The loss is what ``model(input_ids, labels=labels)`` of plain transformers gives row by row, averaged over the tokens that
carry loss (of classifiers: over the rows): nothing is packed, padding is on the right and masked, weights keep the dtype they
are stored in.
"""

from __future__ import annotations

import contextlib
import math
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.nn.functional import cross_entropy

from ..api import DataError, Encoded, FineTUIError, NotFound, Task
from ..catalog.manifest import read_manifest
from ..config import load_settings
from ..data.labels import label_set, require_known
from ..data.shaping import stream
from ..planner.reading import read_model
from ..runs.failure import describe_error
from ..runs.job import Job, Stopped, run_job
from ..runs.spec import EvaluateRequest
from .batches import Batch, collate, in_batches, lengths_of
from .classify import AS_STORED, score_classes
from .corpus import everything, split
from .encoding import EncodingOptions, nothing_left
from .engine import Engine
from .forward import takes_positions_to_keep
from .rendering import ChatRenderer
from .slots import virtual_tokens
from .speed import Speed, classifying, generating, measure, on_one_scale
from .tokencache import DataSource, TokenCache

_LOGITS_BYTES = 1 << 29
"""Batches are made smaller than asked for where their float32 logits would need more than this."""


Figures = dict[str, Any]
"""``loss`` ``perplexity`` ``accuracy`` ``f1`` ``tokens``; ``None`` where one does not apply."""


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
    lengths = lengths_of(encoded)
    ordered = sorted(range(len(encoded)), key=lengths.__getitem__, reverse=True)
    start = 0
    while start < len(ordered):
        fitting = int(_LOGITS_BYTES // (4 * vocabulary * lengths[ordered[start]]))
        rows = [encoded[number] for number in ordered[start : start + max(1, min(size, fitting))]]
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
    engine = Engine(Path(request.model_path), task=request.task)
    names = label_set(stream(request.data, request.columns, request.objective, request.task)) if request.task == "seq-cls" else []
    encoded = _encode(job, engine, request, names)
    job.event("prepared", f"{len(encoded)} rows, {len(request.adapters)} adapters", device=str(engine.device), rows=len(encoded))
    subjects: list[dict[str, str] | None] = [None, *request.adapters]
    rows: list[dict[str, Any]] = []
    for number, subject in enumerate(subjects):
        if job.stop_requested():
            raise Stopped({"rows": _with_speeds(rows, request.task)})
        try:
            rows.append(_row(job, engine, request, encoded, names, subject, number, len(subjects)))
        except Exception as problem:
            if subject is None or not request.keep_going:
                raise
            rows.append(_failed(job, engine, subject, number, problem))
    return {"rows": _with_speeds(rows, request.task)}


def _with_speeds(rows: list[dict[str, Any]], task: Task) -> list[dict[str, Any]]:
    """The rows with tokens (or rows classified) a second in the place of what was measured, where that was asked for."""
    name = "rows_per_second" if task == "seq-cls" else "generate_tokens_per_second"
    measured = [row for row in rows if "speed" in row]
    speeds: list[Speed] = [row.pop("speed") for row in measured]
    for row, speed, per_second in zip(measured, speeds, on_one_scale(speeds) if speeds else []):
        row |= {name: per_second, "speed_vs_base": speed.vs_base}
    return rows


def _failed(job: Job, engine: Engine, subject: dict[str, str], number: int, problem: Exception) -> dict[str, Any]:
    """The row of an adapter that could not be evaluated; it is dropped from memory."""
    error = describe_error(problem)
    if error is not problem:
        traceback.print_exception(problem)
    with contextlib.suppress(NotFound):  # it may not even have been loaded
        engine.remove(str(number))
    job.event("warning", f"{subject['name']} cannot be evaluated: {error.message}")
    return {"adapter": subject["path"], "name": subject["name"], "loss": None, "error": error.to_dict()}


def _encode(job: Job, engine: Engine, request: EvaluateRequest, names: Sequence[str]) -> Sequence[Encoded]:
    options = EncodingOptions(_max_length(engine, request), request.loss_on, request.system_prompt, tuple(names))
    source = DataSource(request.data, request.columns, request.objective, request.task)
    store = TokenCache(job.home.tokenised, load_settings()).tokenised(source, ChatRenderer(engine.tokenizer), options).store
    count = store.facts.examples
    encoded = store.entries(split(count, request.held_out, request.split_seed) if request.held_out else everything(count))
    if not encoded:
        raise nothing_left(count, options.max_length)
    return encoded


def _row(
    job: Job,
    engine: Engine,
    request: EvaluateRequest,
    encoded: Sequence[Encoded],
    names: Sequence[str],
    subject: dict[str, str] | None,
    number: int,
    count: int,
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

    def progress(done: int, total: int) -> None:
        job.progress(number * total + done, count * total, "rows")

    figures = (
        _class_figures(engine, request, encoded, names, name, progress) if names else _text_figures(engine, request, encoded, progress)
    )
    seconds = time.perf_counter() - started
    speed = _speed(job, engine, request, encoded, key) if request.speed_tokens else {}
    if key is not None:
        engine.remove(key)
    if figures["loss"] is None:
        note = {"note": f"{name} alone has no trained classifier"}
    else:
        right = "" if figures["accuracy"] is None else f", accuracy {figures['accuracy']:.1%}"
        job.event("evaluation", f"{name}: loss {figures['loss']:.4f}{right}", name=name, **figures)
    if note:
        job.event("warning", f"{name}: {note['note']}")
    return {
        "adapter": subject["path"] if subject else None,
        "name": name,
        **figures,
        "rows": len(encoded),
        "seconds": seconds,
        "max_length": _max_length(engine, request),
        "base": f"as stored ({str(engine.base.dtype).removeprefix('torch.')})",
        **speed,
        **note,
    }


def _text_figures(engine: Engine, request: EvaluateRequest, encoded: Sequence[Encoded], progress: Callable[[int, int], None]) -> Figures:
    scores = evaluate(engine.model, encoded, request.batch_size, engine.device, progress)
    perplexity = scores.perplexity if math.isfinite(scores.perplexity) else None
    return {"loss": scores.loss, "perplexity": perplexity, "accuracy": None, "f1": None, "tokens": scores.tokens}


def _class_figures(
    engine: Engine,
    request: EvaluateRequest,
    encoded: Sequence[Encoded],
    names: Sequence[str],
    whose: str,
    progress: Callable[[int, int], None],
) -> Figures:
    """Of a classifier, whose labels need not be in the order of the rows' ``names``; all but tokens ``None`` where it is none.

    Raises:
        DataError: a row has a label that it does not know (file and line are named).
    """
    figures: Figures = {"loss": None, "perplexity": None, "accuracy": None, "f1": None, "tokens": int(sum(lengths_of(encoded)))}
    labels = engine.labels
    if not labels:
        return figures
    if set(names) - set(labels):
        require_known(stream(request.data, request.columns, request.objective, request.task), labels, f"those of {whose}")
    numbers = torch.tensor([labels.index(name) for name in names], device=engine.device)
    pad_id = engine.base.config.get_text_config().pad_token_id

    def batches() -> Iterator[Batch]:
        done = 0
        for batch in in_batches(encoded, request.batch_size, packed=False, pad_id=pad_id, device=engine.device):
            yield replace(batch, targets=numbers[batch.targets])
            done += len(batch.targets)
            progress(done, len(encoded))

    scores = score_classes(engine.model, batches(), AS_STORED)
    return figures | {"loss": scores.loss, "accuracy": scores.accuracy, "f1": scores.f1, "tokens": scores.tokens}


def _speed(job: Job, engine: Engine, request: EvaluateRequest, encoded: Sequence[Encoded], key: str | None) -> dict[str, Speed]:
    """How fast it generates or classifies. An adapter that cannot has its other figures all the same."""
    try:
        classifies = request.task == "seq-cls"
        turn = classifying(engine, encoded) if classifies else generating(engine, encoded, request.speed_tokens)
        return {"speed": measure(engine, key, turn)}
    except Exception as problem:
        if not request.keep_going:
            raise
        traceback.print_exception(problem)
        job.event("warning", f"its speed cannot be measured: {describe_error(problem).message}")
        return {}


def _max_length(engine: Engine, request: EvaluateRequest) -> int:
    """Tokens of the longest row: the same for all, so the adapter that takes most of the context decides."""
    return min(request.max_length, read_model(engine.path).max_length - max(map(_taken, request.adapters), default=0))


def _taken(adapter: dict[str, str]) -> int:
    with contextlib.suppress(FineTUIError):  # its own row says what is wrong with it
        return virtual_tokens(Path(adapter["path"]))
    return 0


def _note(adapter: Path) -> dict[str, str]:
    """What a reader of the figures must know of an adapter that was trained on another base than it is evaluated on."""
    manifest = read_manifest(adapter)
    if manifest is None or manifest.method != "qlora":
        return {}
    return {"note": "trained on the base in 4 bits, evaluated on the base as stored; `finetui merge` keeps the 4-bit weights"}


if __name__ == "__main__":
    run_job(main)
