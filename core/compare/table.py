"""The table of a comparison, from what its children say: complete when all have ended, and readable at any time before.

A row is a method. With several seeds its figures are means, and ``spread`` has their sample standard deviations.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from .. import fsio, registry
from ..catalog.digest import weight_files
from ..errors import FineTUIError
from ..planner.reading import read_model
from ..runs.spec import ACTIVE, CompareEntry, CompareRequest, Result, RunState
from ..runs.store import Run, RunStore

BASE = "base"
"""``method`` of the row of the untouched base."""

FIGURES: tuple[str, ...] = (
    "trainable_parameters", "total_parameters", "trainable_share", "steps", "tokens", "tokens_per_second", "generate_tokens_per_second",
    "speed_vs_base", "rows_per_second", "peak_memory_bytes", "planned_memory_bytes", "seconds", "train_loss", "loss", "perplexity",
    "accuracy", "f1", "adapter_bytes",
)  # fmt: skip
"""Numbers of a row, ``None`` where one is not known or does not apply.

``loss``, ``perplexity``, ``accuracy`` and ``f1`` are those of the evaluation that all rows share; ``train_loss`` is the last step's.
``seconds`` is the wall time of the training, all attempts; ``speed_vs_base`` the speed of generation (or of
classification) in units of the base's.
"""


def table_of(store: RunStore, run: Run) -> dict[str, Any]:
    """The table of a comparison: as it was stored when the comparison succeeded, else as its children are now."""
    result = run.result()
    if result is not None and result.state == "succeeded" and result.result.get("rows"):
        return {**result.result, "state": run.state().state}
    return compare_table(store, run)


def compare_table(store: RunStore, run: Run) -> dict[str, Any]:
    """The table of a comparison as its children are now.

    Returns:
        ``{"run", "name", "state", "model", "task", "data", "evaluated_on", "seeds", "rows"}``; the first row is the base's.
    """
    request = msgspec.convert(run.spec.request, CompareRequest)
    children = store.children(run)
    trainings = {child.spec.name: child for child in children if child.spec.kind == "train"}
    evaluated = _evaluated_rows(evaluation_of(children))
    labels = list(dict.fromkeys(entry.label for entry in request.entries))
    rows = [
        _method_row([_entry_row(entry, trainings.get(entry.name), evaluated) for entry in request.entries if entry.label == label])
        for label in labels
    ]
    return {
        "run": run.id,
        "name": run.spec.name,
        "state": run.state().state,
        "model": request.model,
        "task": request.task,
        "data": request.data,
        "evaluated_on": _evaluated_on(request),
        "seeds": sorted({entry.seed for entry in request.entries}),
        "rows": [_base_row(request, evaluated), *rows],
    }


def evaluation_of(children: Sequence[Run]) -> Run | None:
    """The newest evaluation among a comparison's children."""
    return next((child for child in reversed(children) if child.spec.kind == "evaluate"), None)


def training_figures(run: Run) -> dict[str, Any]:
    """The figures of one training run, whatever state it is in; ``loss`` and ``perplexity`` come from another place."""
    row = run.summary()
    trainable, total = row["trainable_parameters"], row["total_parameters"]
    return {
        "trainable_parameters": trainable,
        "total_parameters": total,
        "trainable_share": trainable / total if trainable is not None and total else None,
        "steps": row["steps"],
        "total_steps": row["total_steps"],
        "tokens": row["tokens"],
        "tokens_per_second": row["tokens_per_second"],
        "peak_memory_bytes": row["peak_memory_bytes"],
        "planned_memory_bytes": row["planned_memory_bytes"],
        "seconds": _seconds(run.dir, row["result"].get("seconds")),
        "train_loss": row["loss"],
        "adapter_bytes": _weight_bytes(row["adapter"]),
    }


def _entry_row(entry: CompareEntry, run: Run | None, evaluated: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One training: where it stands, its figures, and what the evaluation says of its result."""
    row: dict[str, Any] = {
        "method": entry.method, "label": entry.label, "seed": entry.seed, "run": None, "adapter": None, "note": "", "error": entry.error,
        "state": "refused" if entry.error else "waiting", "options": entry.request.get("options", {}),
        "changed": [*entry.request.get("training_options", {}), *entry.request.get("method_options", {})],
    }  # fmt: skip
    if run is None:
        return row
    try:
        state = run.state()
        row |= {"run": run.id, "state": state.state, "error": row_error(state), **training_figures(run)}
        row |= {"options": {**row["options"], **state.overrides}, "changed": [*row["changed"], *state.overrides]}
        result = run.result()
    except (FineTUIError, OSError):  # its folder is being removed
        return row | {"state": "lost"}
    row["adapter"] = result.result.get("adapter") if result is not None and state.state == "succeeded" else None
    row |= _provisional(run)
    quality = evaluated.get(row["adapter"] or "")
    if quality is not None and row["adapter"]:
        row |= {**_quality(quality), "provisional": False}
        row["note"] = quality.get("note", "")
        row["error"] = row["error"] or quality.get("error")
    return row


def _provisional(run: Run) -> dict[str, Any]:
    """Until the shared evaluation has been, what the training's own says; it is on the same rows, but at its own precision."""
    evaluation = run.summary()["eval"] or {}
    loss = evaluation.get("loss")
    if not isinstance(loss, float):
        return {}
    perplexity = math.exp(loss) if loss < 700 and "accuracy" not in evaluation else None
    return {"loss": loss, "perplexity": perplexity, **{name: evaluation.get(name) for name in ("accuracy", "f1")}, "provisional": True}


def _base_row(request: CompareRequest, evaluated: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    try:
        parameters: int | None = read_model(Path(request.model_path)).parameters
    except (FineTUIError, OSError):
        parameters = None
    known = evaluated.get("")
    return {
        **blank_row(), "method": BASE, "label": BASE, "state": "evaluated" if known else "waiting", "adapters": [], "runs": [],
        "trainable_parameters": 0, "trainable_share": 0.0, "total_parameters": parameters, "adapter_bytes": 0,
        **(_quality(known) if known else {}), "note": known.get("note", "") if known else "",
    }  # fmt: skip


def blank_row() -> dict[str, Any]:
    """A row of which nothing is known yet, with all its keys."""
    empty: dict[str, Any] = {"method": "", "label": "", "state": "", **dict.fromkeys(FIGURES), "total_steps": None}
    return empty | {
        "merges": None,
        "swaps": None,
        "seeds": 1,
        "spread": {},
        "error": None,
        "note": "",
        "options": {},
        "changed": [],
        "provisional": False,
    }


def _quality(evaluated: Mapping[str, Any]) -> dict[str, Any]:
    """What the shared evaluation says of one subject."""
    names = ("loss", "perplexity", "accuracy", "f1", "generate_tokens_per_second", "speed_vs_base", "rows_per_second")
    return {name: evaluated.get(name) for name in names}


def _method_row(seeds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One method: means over its seeds, and the spread where there are several."""
    first = seeds[0]
    row = {**blank_row(), **{name: first[name] for name in ("method", "label", "options", "changed")}}
    row |= method_abilities(first["method"])
    row |= {"state": _joint_state([seed["state"] for seed in seeds]), "seeds": len(seeds)}
    row |= {"error": next((seed["error"] for seed in seeds if seed["error"]), None), "note": first["note"]}
    row["provisional"] = any(seed.get("provisional") for seed in seeds)
    row["learning_rate"] = first["options"].get("learning_rate")
    row["total_steps"] = first.get("total_steps")
    row["runs"] = [seed["run"] for seed in seeds if seed["run"]]
    row["adapters"] = [seed["adapter"] for seed in seeds if seed["adapter"]]
    for name in FIGURES:
        values = [seed[name] for seed in seeds if isinstance(seed.get(name), (int, float))]
        if values:
            row[name] = values[0] if len(set(values)) == 1 else statistics.fmean(values)
        if len(values) > 1:
            row["spread"][name] = statistics.stdev(values)
    return row


def method_abilities(method: str) -> dict[str, bool | None]:
    """Whether a method's results can be merged and swapped; unknown where it is not installed any more."""
    try:
        plugin = registry.load("methods", method)
    except FineTUIError:
        return {"merges": None, "swaps": None}
    return {"merges": plugin.merges, "swaps": plugin.swaps}


def _joint_state(states: Sequence[str]) -> str:
    """The state of a row whose seeds stand at different places: what is still moving, else what went wrong, else the common one."""
    moving = [state for state in states if state in ACTIVE]
    if moving:
        return moving[0]
    return next((state for state in states if state not in ("succeeded", "waiting")), "waiting" if "waiting" in states else states[0])


def _evaluated_rows(run: Run | None) -> dict[str, Mapping[str, Any]]:
    """Rows of the evaluation by adapter folder, the base's under the empty name."""
    result = run.result() if run is not None else None
    return {row["adapter"] or "": row for row in (result.result.get("rows") or [])} if result is not None else {}


def _evaluated_on(request: CompareRequest) -> str:
    evaluation = request.evaluation
    files = ", ".join(Path(path).name for path in evaluation["data"])
    share = evaluation.get("held_out")
    return f"{share:.0%} of {files}, held out with seed {evaluation['split_seed']}" if share else files


def row_error(state: RunState) -> dict[str, str] | None:
    """Why a run has no result, where it has ended without one."""
    if state.error:
        return state.error
    return {"kind": state.state, "message": state.reason or state.state, "hint": ""} if state.state in ("stopped", "lost") else None


def _seconds(folder: Path, latest: float | None) -> float | None:
    """Wall time of all attempts together."""
    earlier = 0.0
    for path in folder.glob("result.*.json"):
        try:
            earlier += float(fsio.read_json(path, Result).result.get("seconds") or 0.0)
        except (FineTUIError, OSError):
            continue
    return None if latest is None and not earlier else earlier + (latest or 0.0)


def _weight_bytes(adapter: str | None) -> int | None:
    """Size of a result's weight files."""
    if not adapter:
        return None
    try:
        return sum(path.stat().st_size for path in weight_files(Path(adapter))) or None
    except (FineTUIError, OSError):
        return None
