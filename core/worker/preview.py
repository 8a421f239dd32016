"""Data as training would see it, before training: rows token by token, and lengths for the planner.

Both go through the functions that training goes through, with the same options.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

from ..api import Encoded, Task
from ..data.labels import label_names
from ..data.shaping import stream
from ..options import parse
from ..planner.reading import read_model
from ..planner.tasks import choose_task
from ..training import TrainingOptions, within_context
from .batches import loss_tokens
from .encoding import EncodedExample, EncodingOptions, encode_stream, nothing_left
from .loading import load_tokenizer
from .rendering import ChatRenderer

MAX_LISTED = 20_000
"""Lengths listed by `lengths`; of more examples, evenly spaced ones are."""

_BOUNDS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


@dataclass(frozen=True, slots=True)
class View:
    """Data as one model would be trained on it; the arguments of `preview` and `lengths`.

    Attributes:
        settings: training options by name; ``max_length``, ``loss_on`` and ``system_prompt`` matter here.
        task: none: see `choose_task`.
    """

    model_path: str
    data: Sequence[str]
    columns: Mapping[str, str] | None = None
    objective: str = ""
    settings: Mapping[str, Any] | None = None
    task: Task | None = None

    def encode(self, tokenizer: Any, limit: int | None) -> tuple[Iterator[EncodedExample], EncodingOptions]:
        """The first ``limit`` examples (none: all), one by one, and how they are encoded."""
        spec = read_model(Path(self.model_path))
        options = within_context(parse(TrainingOptions, self.settings or {}, owner="training"), spec.max_length)
        task = self.task or choose_task(spec, self.columns)
        labels = label_names(stream(self.data, self.columns, self.objective, task)) if task == "seq-cls" else []
        examples = stream(self.data, self.columns, self.objective, task)
        encoding = EncodingOptions(options.max_length, options.loss_on, options.system_prompt, tuple(labels))
        return encode_stream(islice(examples, limit), ChatRenderer(tokenizer), examples.objective, encoding), encoding


def preview(
    model_path: str,
    data: Sequence[str],
    columns: Mapping[str, str] | None = None,
    n: int = 1,
    objective: str = "",
    settings: Mapping[str, Any] | None = None,
    task: Task | None = None,
    skip: int = 0,
) -> list[dict[str, Any]]:
    """``n`` rows as training would see them, unpacked: the first ones, or those after the first ``skip``.

    Returns:
        ``{"text", "input_ids", "labels", "tokens", "truncated"}`` each: ``labels`` as in `Encoded`, ``tokens`` what each token adds
        to the text, ``truncated`` whether the end is cut off; of classified texts also ``label``, the name of the class. Fewer than
        ``n`` where the data ends.

    Raises:
        NotFound, CorruptFile, UnsafeFile: no such file, no usable tokenizer.
        DataError: a malformed row, or nothing to learn within ``max_length``.
        UsageError: an unknown or ill-typed setting.
    """
    tokenizer = load_tokenizer(model_path)
    encoded, options = View(model_path, data, columns, objective, settings, task).encode(tokenizer, skip + n)
    found = list(encoded)
    parts = [(part, each.truncated) for each in found for part in each.parts]
    if not parts:
        raise nothing_left(len(found), options.max_length)
    return [{**_as_row(part, tokenizer, options.labels), "truncated": cut} for part, cut in parts[skip : skip + n]]


def lengths(
    model_path: str,
    data: Sequence[str],
    columns: Mapping[str, str] | None = None,
    objective: str = "",
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
    task: Task | None = None,
) -> dict[str, Any]:
    """Token lengths of data, after cutting to ``max_length``.

    Args:
        limit: look at so many rows only.

    Returns:
        ``examples`` ``tokens`` ``loss_tokens`` ``truncated`` ``dropped`` ``max_length`` ``min`` ``median`` ``mean`` ``p95``
        ``max``, ``lengths`` and ``loss_lengths`` (at most `MAX_LISTED`); of whole examples, before cutting: ``whole``
        (``{"median", "p95", "max"}``) and ``histogram`` (``[{"from", "to", "count"}]``, both ends inclusive).

    Raises:
        FineTUIError: as `preview`.
    """
    tokenizer = load_tokenizer(model_path)
    encoded, options = View(model_path, data, columns, objective, settings, task).encode(tokenizer, limit)
    counts, losses, whole = array("q"), array("q"), array("q")
    truncated = dropped = 0
    for each in encoded:
        whole.append(each.length)
        truncated += each.truncated
        dropped += not each.parts
        counts.extend(len(part.input_ids) for part in each.parts)
        losses.extend(loss_tokens(part) for part in each.parts)
    if not counts:
        raise nothing_left(dropped, options.max_length)
    ordered, uncut, step = sorted(counts), sorted(whole), -(-len(counts) // MAX_LISTED)
    return {
        "examples": len(counts),
        "tokens": sum(counts),
        "loss_tokens": sum(losses),
        "truncated": truncated,
        "dropped": dropped,
        "max_length": options.max_length,
        "min": ordered[0],
        "median": median(ordered),
        "mean": sum(counts) / len(counts),
        "p95": _p95(ordered),
        "max": ordered[-1],
        "whole": {"median": median(uncut), "p95": _p95(uncut), "max": uncut[-1]},
        "histogram": _histogram(uncut),
        "lengths": list(counts[::step]),
        "loss_lengths": list(losses[::step]),
    }


def _p95(ordered: Sequence[int]) -> int:
    return ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))]


def _as_row(encoded: Encoded, tokenizer: Any, labels: Sequence[str]) -> dict[str, Any]:
    """One entry as JSON; the text of a cut one is what is left of it."""
    ids = encoded.input_ids
    text = encoded.text or tokenizer.decode(ids, skip_special_tokens=False)
    named = {} if encoded.label is None else {"label": labels[encoded.label]}
    return {"text": text, "input_ids": ids, "labels": encoded.labels, "tokens": _token_texts(ids, tokenizer), **named}


def _token_texts(ids: Sequence[int], tokenizer: Any) -> list[str]:
    """What each token adds to the text; empty for all but the last of the tokens that share a character."""
    texts: list[str] = []
    start, done = 0, 0  # decoding restarts at `start`, one piece back: a tokenizer may treat a first token differently
    for end in range(1, len(ids) + 1):
        before = tokenizer.decode(ids[start:done], skip_special_tokens=False)
        text = tokenizer.decode(ids[start:end], skip_special_tokens=False)
        if text.endswith("\ufffd") and end < len(ids):
            texts.append("")
        else:
            texts.append(text[len(before) :])
            start, done = done, end
    return texts


def _histogram(ordered: Sequence[int]) -> list[dict[str, int]]:
    """Counts of ascending lengths between powers of two, empty ranges at the ends left out."""
    bins: list[dict[str, int]] = []
    low = 1
    for bound in (*_BOUNDS, max(ordered[-1], _BOUNDS[-1] + 1)):
        count = bisect_right(ordered, bound) - bisect_right(ordered, low - 1)
        if count or (bins and low <= ordered[-1]):
            bins.append({"from": low, "to": bound, "count": count})
        low = bound + 1
    return bins
