"""Data as training would see it, before training: rows token by token, and lengths for the planner.

Both go through the functions that training goes through, with the same options.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

from .. import registry
from ..api import Encoded
from ..data.shaping import examples
from ..options import parse
from ..planner.reading import read_model
from ..training import TrainingOptions, within_context
from .encoding import EncodedSet, EncodingOptions, encode_examples
from .loading import load_tokenizer
from .rendering import ChatRenderer

MAX_LISTED = 20_000
"""Lengths listed by `lengths`; of more examples, evenly spaced ones are."""

_BOUNDS = (32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384, 32768)


def preview(
    model_path: str,
    data: Sequence[str],
    columns: Mapping[str, str] | None = None,
    n: int = 1,
    objective: str = "",
    settings: Mapping[str, Any] | None = None,
) -> list[dict[str, Any]]:
    """The first ``n`` rows as training would see them, unpacked.

    Args:
        settings: training options by name; ``max_length``, ``loss_on`` and ``system_prompt`` matter here.

    Returns:
        ``{"text", "input_ids", "labels", "tokens"}`` each: ``labels`` as in `Encoded`, ``tokens`` what each token adds to
        the text.

    Raises:
        NotFound, CorruptFile, UnsafeFile: no such file, no usable tokenizer.
        DataError: a malformed row, or nothing to learn within ``max_length``.
        UsageError: an unknown or ill-typed setting.
    """
    tokenizer = load_tokenizer(model_path)
    encoded, _ = _encode(Path(model_path), tokenizer, data, columns, objective, settings, limit=n)
    return [_as_row(each, tokenizer) for each in encoded.encoded[:n]]


def lengths(
    model_path: str,
    data: Sequence[str],
    columns: Mapping[str, str] | None = None,
    objective: str = "",
    settings: Mapping[str, Any] | None = None,
    limit: int | None = None,
) -> dict[str, Any]:
    """Token lengths of data, after cutting to ``max_length``.

    Args:
        limit: look at so many rows only.

    Returns:
        ``examples`` ``tokens`` ``loss_tokens`` ``truncated`` ``dropped`` ``max_length`` ``min`` ``median`` ``mean`` ``p95``
        ``max``, ``histogram`` (``[{"from", "to", "count"}]``, both ends inclusive) ``lengths`` and ``loss_lengths`` (at most `MAX_LISTED`).

    Raises:
        FineTUIError: as `preview`.
    """
    encoded, options = _encode(Path(model_path), load_tokenizer(model_path), data, columns, objective, settings, limit=limit)
    counts = [len(each.input_ids) for each in encoded]
    losses = [sum(label != -100 for label in each.labels[1:]) for each in encoded]
    ordered = sorted(counts)
    step = -(-len(counts) // MAX_LISTED)
    return {
        "examples": len(counts),
        "tokens": sum(counts),
        "loss_tokens": sum(losses),
        "truncated": encoded.truncated,
        "dropped": encoded.dropped,
        "max_length": options.max_length,
        "min": ordered[0],
        "median": median(ordered),
        "mean": sum(counts) / len(counts),
        "p95": ordered[min(len(ordered) - 1, int(0.95 * len(ordered)))],
        "max": ordered[-1],
        "histogram": _histogram(ordered),
        "lengths": counts[::step],
        "loss_lengths": losses[::step],
    }


def _encode(
    folder: Path,
    tokenizer: Any,
    data: Sequence[str],
    columns: Mapping[str, str] | None,
    objective: str,
    settings: Mapping[str, Any] | None,
    *,
    limit: int | None,
) -> tuple[EncodedSet, TrainingOptions]:
    options = within_context(parse(TrainingOptions, settings or {}, owner="training"), read_model(folder).max_length)
    dataset = examples(data, columns, objective, limit=limit)
    encoded = encode_examples(
        dataset,
        ChatRenderer(tokenizer),
        registry.load("objectives", dataset.objective),
        EncodingOptions(options.max_length, options.loss_on, options.system_prompt),
    )
    return encoded, options


def _as_row(encoded: Encoded, tokenizer: Any) -> dict[str, Any]:
    """One entry as JSON; the text of a cut one is what is left of it."""
    ids = encoded.input_ids
    text = encoded.text or tokenizer.decode(ids, skip_special_tokens=False)
    return {"text": text, "input_ids": ids, "labels": encoded.labels, "tokens": _token_texts(ids, tokenizer)}


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
