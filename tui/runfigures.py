"""The figures beside a run's curve: one column where there is room, a few lines where there is not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from textual.content import Content

from .feed import RunFacts
from .format import NOTHING, duration, figure, human_bytes, human_count, percent, scientific
from .glyphs import Glyphs, bar, spark

if TYPE_CHECKING:
    from ..core.devices import Device


def wide_figures(facts: RunFacts, request: dict[str, Any], devices: Sequence[Device], glyphs: Glyphs, width: int) -> Content:
    """A column of names, right-aligned values and small graphs."""
    last, graph = facts.last, max(4, width - 28)

    def row(name: str, value: str, after: str = "", style: str = "$muted") -> Content:
        return Content.assemble((f"{name:<13}", "$muted"), (f"{value:>11}", "$foreground"), "  ", (after, style))

    def graphed(name: str, value: str, key: str) -> Content:
        return row(name, value, spark(list(facts.recent[key]), graph, glyphs), "$accent")

    lines = [
        row("train loss", figure(last.get("loss")), _fallen(facts, glyphs)),
        row("eval loss", figure(facts.evaluations[-1][1] if facts.evaluations else None), _best(facts)),
        *([row("accuracy", percent(facts.rightness[0]), f"F1 {facts.rightness[1]:.3f}")] if facts.rightness else []),
        Content(""),
        graphed("learning rate", scientific(last.get("learning_rate")), "learning_rate"),
        graphed("grad norm", figure(last.get("grad_norm")), "grad_norm"),
        graphed("speed", _speed(last, "t/s"), "tokens_per_second"),
        Content(""),
        row("tokens", human_count(last.get("tokens"))),
        row("data wait", _data_wait(last)),
        row("elapsed", duration(_elapsed(facts))),
        row("trains", human_count(facts.prepared.get("trainable_parameters")), f"of {human_count(facts.prepared.get('total_parameters'))}"),
        Content(""),
        *_memory(facts, request, glyphs, row, graph),
        *_device(facts, devices, glyphs, row, graph),
    ]
    return Content("\n").join(lines)


def narrow_figures(facts: RunFacts, request: dict[str, Any], devices: Sequence[Device], glyphs: Glyphs) -> Content:
    """The same in four lines of up to 78 columns, the most wanted first."""
    last = facts.last
    evaluation = facts.evaluations[-1][1] if facts.evaluations else None
    right = [("accuracy", percent(facts.rightness[0])), ("F1", f"{facts.rightness[1]:.3f}")] if facts.rightness else []
    lines = [
        [("loss", f"{figure(last.get('loss'))} {_fallen(facts, glyphs)}"), ("eval", f"{figure(evaluation)} {_best(facts)}"), *right],
        [
            ("speed", _speed(last, "tok/s")), ("lr", scientific(last.get("learning_rate"))),
            ("grad norm", figure(last.get("grad_norm"))), ("data wait", _data_wait(last)),
        ],
        [
            *([] if facts.ended else [("memory", f"{human_bytes(last.get('memory_bytes'))} now")]),
            ("memory peak" if facts.ended else "peak", f"{human_bytes(last.get('peak_memory_bytes'))} {_over(facts, request, glyphs)}"),
            ("planned", human_bytes(request.get("planned_memory_bytes") or None)), ("tokens", human_count(last.get("tokens"))),
        ],
        [
            *((device.id, _busy(device)) for device in _leased(facts, devices)[:2]),
            ("speed", spark(list(facts.recent["tokens_per_second"]), 20, glyphs)),
        ],
    ]  # fmt: skip
    return Content("\n").join([_joined(line) for line in lines])


def _joined(pairs: list[tuple[str, str]]) -> Content:
    parts: list[Any] = []
    for name, value in pairs:
        parts += [(f"{name} ", "$muted"), (value.strip(), "$foreground"), "   "]
    return Content.assemble(*parts)


def _fallen(facts: RunFacts, glyphs: Glyphs) -> str:
    loss = facts.last.get("loss")
    if loss is None or facts.first_loss is None or loss == facts.first_loss:
        return ""
    return f"{glyphs.down if loss < facts.first_loss else glyphs.up} {abs(facts.first_loss - loss):.3f}"


def _best(facts: RunFacts) -> str:
    best = facts.best_evaluation
    if best is None or len(facts.evaluations) < 2:
        return ""
    return f"best {best[1]:.3f}"


def _speed(last: dict[str, Any], unit: str) -> str:
    speed = last.get("tokens_per_second")
    return f"{human_count(speed)} {unit}" if speed else NOTHING


def _data_wait(last: dict[str, Any]) -> str:
    step = last.get("step_seconds")
    return percent((last.get("data_seconds") or 0.0) / step) if step else NOTHING


def _elapsed(facts: RunFacts) -> float | None:
    if facts.started is None:
        return None
    until = facts.finished or (facts.times[-1][0] if facts.times else facts.started)
    return max(0.0, until - facts.started)


def _memory(facts: RunFacts, request: dict[str, Any], glyphs: Glyphs, row: Any, graph: int) -> list[Content]:
    now, peak, planned = facts.last.get("memory_bytes"), facts.last.get("peak_memory_bytes"), request.get("planned_memory_bytes")
    top = max(planned or 0, peak or 0) or None
    over = _over(facts, request, glyphs)
    lines = [
        row("peak", human_bytes(peak), over or (bar(peak / top, graph, glyphs) if peak and top else ""), "$warning" if over else "$accent"),
        row("planned", human_bytes(planned or None)),
    ]
    if not facts.ended:
        lines.insert(0, row("memory now", human_bytes(now), bar(now / top, graph, glyphs) if now and top else "", "$accent"))
    return lines


def _over(facts: RunFacts, request: dict[str, Any], glyphs: Glyphs) -> str:
    """A remark where more memory was used than was planned."""
    peak, planned = facts.last.get("peak_memory_bytes"), request.get("planned_memory_bytes")
    return f"{glyphs.warning} over" if peak and planned and peak > planned else ""


def _leased(facts: RunFacts, devices: Sequence[Device]) -> list[Device]:
    """The devices that the run computes on."""
    return [device for device in devices if device.uuid in facts.devices]


def _device(facts: RunFacts, devices: Sequence[Device], glyphs: Glyphs, row: Any, graph: int) -> list[Content]:
    lines = []
    for device in _leased(facts, devices)[:4]:
        name = "CPU" if device.kind == "cpu" else f"GPU {device.id}"
        busy = device.utilisation
        lines.append(row(name, f"{busy:.0f} % busy" if busy is not None else "", bar((busy or 0) / 100, graph, glyphs), "$accent"))
        if device.temperature is not None:
            lines.append(row("", f"{device.temperature:.0f} °C", f"{device.power:.0f} W" if device.power else ""))
    return lines


def _busy(device: Device) -> str:
    return f"{device.utilisation:.0f} % busy" if device.utilisation is not None else NOTHING
