"""The same table for runs that were started one by one, or for a comparison of the past."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from ..errors import UsageError
from ..runs.store import Run, RunStore
from .table import blank_row, method_abilities, row_error, table_of, training_figures

_OF_THE_REQUEST = ("model", "data", "eval_data", "eval_split", "task", "seed")
"""What is compared besides the options."""


def runs_table(store: RunStore, runs: Sequence[Run]) -> dict[str, Any]:
    """The table of past runs: one comparison as it is, or training runs (those of a comparison among them) a row each.

    A training run's quality is that of its own evaluation, on its own evaluation data.

    Returns:
        As `table.compare_table`; ``run`` is ``None`` where it is not one comparison.

    Raises:
        UsageError: no run was named, or one of another kind.
    """
    if not runs:
        raise UsageError("no run to compare", "name at least one comparison, or two training runs: finetui runs list")
    for run in runs:
        if run.spec.kind not in ("train", "compare"):
            raise UsageError(f"run {run.id} is a {run.spec.kind} run", "only training runs and comparisons can be compared")
    if len(runs) == 1 and runs[0].spec.kind == "compare":
        return table_of(store, runs[0])
    rows: list[dict[str, Any]] = []
    for run in runs:
        rows += [_train_row(run)] if run.spec.kind == "train" else _rows_of_comparison(store, run)
    return {
        "run": None, "name": "", "state": "", "model": _common(rows, "model"), "task": _common(rows, "task"), "data": _common(rows, "data"),
        "evaluated_on": _evaluated_on(rows), "seeds": sorted({row["options"]["seed"] for row in rows if "seed" in row["options"]}),
        "rows": rows,
    }  # fmt: skip


def _train_row(run: Run) -> dict[str, Any]:
    request, summary, state = run.spec.request, run.summary(), run.state()
    evaluation = summary["eval"] or {}
    loss = evaluation.get("loss")
    asked = {key: request.get(key) for key in _OF_THE_REQUEST if request.get(key) not in (None, [], "")}
    return {
        **blank_row(), **training_figures(run), **method_abilities(request["method"]),
        "method": request["method"], "label": run.spec.name, "state": state.state, "error": row_error(state), "runs": [run.id],
        "adapters": [summary["adapter"]] if summary["adapter"] else [], "options": {**asked, **(summary["options"] or {})},
        "changed": [*asked, *request.get("training_options", {}), *request.get("method_options", {})],
        "learning_rate": (summary["options"] or {}).get("learning_rate"),
        "loss": loss, "perplexity": math.exp(loss) if loss is not None and loss < 700 else None,
        "accuracy": evaluation.get("accuracy"), "f1": evaluation.get("f1"),
    }  # fmt: skip


def _rows_of_comparison(store: RunStore, run: Run) -> list[dict[str, Any]]:
    """A comparison's rows among those of other runs: with its name before theirs."""
    table = table_of(store, run)
    asked = {"model": table["model"], "data": table["data"], "task": table["task"]}
    return [{**row, "label": f"{run.spec.name}/{row['label']}", "options": {**asked, **row["options"]}} for row in table["rows"]]


def _common(rows: Sequence[dict[str, Any]], key: str) -> Any:
    """What all rows agree on, else ``None``."""
    values = [row["options"].get(key) for row in rows]
    return values[0] if values and all(value == values[0] for value in values) else None


def _evaluated_on(rows: Sequence[dict[str, Any]]) -> str:
    """Whether the losses can be compared at all."""
    same = all(
        _common(rows, key) is not None or not any(key in row["options"] for row in rows) for key in ("data", "eval_data", "eval_split")
    )
    seeds = {row["options"].get("seed") for row in rows}
    held_out = not any(row["options"].get("eval_data") for row in rows)
    if same and (not held_out or len(seeds) == 1):
        return "each run's own evaluation, on the same rows"
    return "each run's own evaluation; the rows differ, so losses cannot be compared: evaluate the results with `finetui eval`"
