"""A run in one dictionary, the JSON of ``runs show``: composed from its spec, state, events, last metrics and result."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from .pulse import STALLED
from .spec import ACTIVE, Event, ProcessIdentity, Result, RunSpec, RunState, effective_request


def summarise(spec: RunSpec, state: RunState, events: Sequence[Event], last: Mapping[str, Any], result: Result | None) -> dict[str, Any]:
    """Compose the summary. What is not known yet, or does not apply to the kind, is ``None``.

    Args:
        events: all events of the run, oldest first.
        last: its last line of training metrics.
        result: of the current attempt, if it has ended.
    """
    ended = result.result if result else {}
    return {
        "run": spec.run,
        "kind": spec.kind,
        "name": spec.name,
        "parent": spec.parent or None,
        "state": state.state,
        "reason": state.reason,
        "trouble": trouble(state, diverges(events)) or None,
        **_asked(effective_request(spec, state)),
        **_figures(events, last, ended),
        "adapter": ended.get("adapter") if state.state == "succeeded" else None,
        "pid": _pid(state, state.job),
        "supervisor_pid": _pid(state, state.supervisor),
        "host": spec.host,
        "devices": state.devices,
        "attempt": state.attempt,
        "created": iso(spec.created),
        "started": iso(state.started),
        "finished": iso(state.finished),
        "error": state.error,
        "result": ended,
    }


def diverges(events: Sequence[Event], before: bool = False) -> bool:
    """Whether the loss or the gradients have exploded and not come back, after these events."""
    for event in events:
        if event.kind in ("diverging", "recovered", "resumed"):
            before = event.kind == "diverging"
    return before


def trouble(state: RunState, diverging: bool) -> str:
    """What is wrong with a run that goes on, in a word: ``stalled``, ``diverging``, or nothing."""
    if state.state != "running":
        return ""
    return "stalled" if state.reason.startswith(STALLED) else "diverging" if diverging else ""


def _asked(request: Mapping[str, Any]) -> dict[str, Any]:
    """What the run was asked to do."""
    return {
        "method": request.get("method"),
        "model": request.get("model"),
        "data": request.get("data"),
        "options": request.get("options") or {**request.get("training_options", {}), **request.get("method_options", {})},
        "planned_memory_bytes": request.get("planned_memory_bytes") or None,
    }


def _figures(events: Sequence[Event], last: Mapping[str, Any], ended: Mapping[str, Any]) -> dict[str, Any]:
    """How far it is: from its result, else from its last metrics, else from what it announced."""
    prepared = _last_data(events, "prepared")
    names = ("trainable_parameters", "total_parameters", "total_steps", "tokens", "tokens_per_second", "mfu", "peak_memory_bytes")
    return {
        "steps": ended.get("steps", last.get("step", 0)),
        **{name: ended.get(name, last.get(name, prepared.get(name))) for name in names},
        "loss": last.get("loss", ended.get("loss")),
        "eval": ended.get("eval") or _last_data(events, "evaluation") or None,
    }


def iso(seconds: float | None) -> str | None:
    """Seconds since the epoch as ISO 8601 in UTC, ``2026-11-23T09:30:00.250Z``."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _last_data(events: Sequence[Event], kind: str) -> dict[str, Any]:
    return next((event.data for event in reversed(events) if event.kind == kind), {})


def _pid(state: RunState, identity: ProcessIdentity | None) -> int | None:
    """The process id while the run is active: the trainer's or the supervisor's."""
    return identity.pid if identity is not None and state.state in ACTIVE else None
