"""The figures beside a run's curve: one column where there is room, a few lines where there is not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from textual.content import Content

from .feed import RunFacts
from .format import NOTHING, duration, figure, human_bytes, human_count, percent, scientific
from .glyphs import Glyphs, bar, shorten, spark
from .meterlines import device_name

if TYPE_CHECKING:
    from ..core.runs.spec import MetricLine


_GRAPH = 64
"""Steps and readings that the small graphs look back on."""


def wide_figures(facts: RunFacts, request: dict[str, Any], glyphs: Glyphs, width: int) -> Content:
    """A column of names, right-aligned values and small graphs."""
    last, graph = facts.last, max(4, width - 28)

    def row(name: str, value: str, after: str = "", style: str = "$muted") -> Content:
        return Content.assemble((f"{name:<13}", "$muted"), (f"{value:>11}", "$foreground"), "  ", (after, style))

    def graphed(name: str, value: str, key: str) -> Content:
        return row(name, value, spark(facts.history[key].ys[-_GRAPH:], graph, glyphs), "$accent")

    lines = [
        row("train loss", figure(last.loss), _fallen(facts, glyphs)),
        row("eval loss", figure(facts.evaluations[-1][1] if facts.evaluations else None), _best(facts)),
        *([row("accuracy", percent(facts.rightness[0]), f"F1 {facts.rightness[1]:.3f}")] if facts.rightness else []),
        Content(""),
        graphed("learning rate", scientific(last.learning_rate), "learning_rate"),
        graphed("grad norm", figure(last.grad_norm), "grad_norm"),
        graphed("speed", _speed(last, "t/s"), "tokens_per_second"),
        *([row("MFU", percent(last.mfu), "of the peak")] if last.mfu else []),
        Content(""),
        row("tokens", human_count(last.tokens)),
        row("data wait", _data_wait(last)),
        row("elapsed", duration(_elapsed(facts))),
        row("trains", human_count(facts.prepared.get("trainable_parameters")), f"of {human_count(facts.prepared.get('total_parameters'))}"),
        Content(""),
        *_memory(facts, request, glyphs, row, graph),
        *_device(facts, glyphs, row, graph),
    ]
    return Content("\n").join(lines)


def narrow_figures(facts: RunFacts, request: dict[str, Any], glyphs: Glyphs, width: int) -> Content:
    """The same in four lines, the most wanted first; what does not fit into a line is left out."""
    last = facts.last
    evaluation = facts.evaluations[-1][1] if facts.evaluations else None
    right = [("accuracy", percent(facts.rightness[0])), ("F1", f"{facts.rightness[1]:.3f}")] if facts.rightness else []
    lines = [
        [("loss", f"{figure(last.loss)} {_fallen(facts, glyphs)}"), ("eval", f"{figure(evaluation)} {_best(facts)}"), *right],
        [
            ("speed", _speed(last, "tok/s")), ("lr", scientific(last.learning_rate)),
            ("grad norm", figure(last.grad_norm)), ("data wait", _data_wait(last)),
            *([("MFU", percent(last.mfu))] if last.mfu else []),
        ],
        [
            *([] if facts.ended else [("memory", f"{human_bytes(last.memory_bytes)} now")]),
            ("memory peak" if facts.ended else "peak", f"{human_bytes(last.peak_memory_bytes)} {_over(facts, request, glyphs)}"),
            ("planned", human_bytes(request.get("planned_memory_bytes") or None)), ("tokens", human_count(last.tokens)),
        ],
        [
            *((device_name(meter.last), _busy(meter.last)) for meter in list(facts.meters.values())[:2]),
            ("speed", spark(facts.history["tokens_per_second"].ys[-_GRAPH:], 20, glyphs)),
        ],
    ]  # fmt: skip
    return Content("\n").join([_joined(line, width) for line in lines])


def _joined(pairs: list[tuple[str, str]], width: int) -> Content:
    parts: list[Any] = []
    for name, value in pairs:
        width -= len(name) + len(value.strip()) + (4 if parts else 1)
        if width < 0:
            break
        parts += [(f"{name} ", "$muted"), (value.strip(), "$foreground"), "   "]
    return Content.assemble(*parts)


def _fallen(facts: RunFacts, glyphs: Glyphs) -> str:
    loss = facts.last.loss
    if loss is None or facts.first_loss is None or loss == facts.first_loss:
        return ""
    return f"{glyphs.down if loss < facts.first_loss else glyphs.up} {abs(facts.first_loss - loss):.3f}"


def _best(facts: RunFacts) -> str:
    best = facts.best_evaluation
    if best is None or len(facts.evaluations) < 2:
        return ""
    return f"best {best[1]:.3f}"


def _speed(last: MetricLine, unit: str) -> str:
    speed = last.tokens_per_second
    return f"{human_count(speed)} {unit}" if speed else NOTHING


def _data_wait(last: MetricLine) -> str:
    step = last.step_seconds
    return percent((last.data_seconds or 0.0) / step) if step else NOTHING


def _elapsed(facts: RunFacts) -> float | None:
    if facts.started is None:
        return None
    until = facts.finished or (facts.times[-1][0] if facts.times else facts.started)
    return max(0.0, until - facts.started)


def _memory(facts: RunFacts, request: dict[str, Any], glyphs: Glyphs, row: Any, graph: int) -> list[Content]:
    now, peak, planned = facts.last.memory_bytes, facts.last.peak_memory_bytes, request.get("planned_memory_bytes")
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
    peak, planned = facts.last.peak_memory_bytes, request.get("planned_memory_bytes")
    return f"{glyphs.warning} over" if peak and planned and peak > planned else ""


def _device(facts: RunFacts, glyphs: Glyphs, row: Any, graph: int) -> list[Content]:
    """How busy each device was lately; of GPUs also memory, temperature and power."""
    lines = []
    for meter in list(facts.meters.values())[:4]:
        last = meter.last
        if "problem" in last:
            lines += [row(device_name(last), "lost"), Content.styled("  " + shorten(last["problem"], graph + 26, glyphs), "$error")]
            continue
        shares = meter.recent("utilisation", _GRAPH)
        lines.append(row(device_name(last), _busy(last), spark(shares, graph, glyphs, full=100.0), "$accent"))
        if "temperature" in last:
            used = meter.recent("memory_bytes", _GRAPH)
            lines.append(
                row("  memory", human_bytes(last.get("memory_bytes")), spark(used, graph, glyphs, full=last["memory_total"]), "$accent")
            )
            lines.append(row("", f"{last['temperature']:.0f} °C", f"{last['power']:.0f} W" if last.get("power") else ""))
    return lines


def _busy(reading: dict[str, Any]) -> str:
    if "problem" in reading:
        return "lost"
    return f"{reading['utilisation']:.0f} % busy" if "utilisation" in reading else NOTHING
