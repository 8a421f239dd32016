"""The tabs below a run's curve as lines: its log, its events, what it answered to sample prompts, the meters of its devices."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .feed import RunFacts
from .format import clock
from .glyphs import Glyphs
from .meterlines import meter_lines
from .widgets.axes import Runs

LOG, EVENTS, SAMPLES, DEVICES = range(4)
TABS = ("Log", "Events", "Samples", "Devices")
_EMPTY = (
    "nothing logged yet",
    "nothing happened yet",
    "no samples: set sample_prompts in a new run",
    "nothing was read from the devices yet",
)


def entries(facts: RunFacts, tab: int) -> tuple[int, Sequence[Any]]:
    """How many entries a tab has had, and those that are kept, the newest last."""
    if tab == LOG:
        return facts.logged, facts.log
    if tab == DEVICES:
        return sum(len(meter.times) for meter in facts.meters.values()), ()
    kept = facts.events if tab == EVENTS else facts.samples
    return len(kept), kept


def lines_of(tab: int, kept: Sequence[Any], glyphs: Glyphs) -> list[Runs]:
    """Entries of the log, the events or the samples as lines."""
    if tab == LOG:
        return [[(line, "")] for line in kept]
    if tab == EVENTS:
        return [
            [(clock(time) + "  ", "dim"), (f"{kind:<11}", "strong"), (message.removeprefix(f"{kind} ").replace("\n", " "), "")]
            for time, kind, message in kept
        ]
    lines: list[Runs] = []
    for step, prompt, text in kept:
        lines.append([(f"step {step:g}  ", "dim"), (" ".join(prompt.split()), "strong")])
        first, *rest = text.expandtabs().splitlines() or [""]
        lines += [[(f"{glyphs.arrow} {first}", "")], *([("  " + line, "")] for line in rest)]
    return lines


def all_lines(facts: RunFacts, tab: int, glyphs: Glyphs, width: int) -> list[Runs]:
    """Everything a tab shows, or the sentence that there is nothing."""
    lines = meter_lines(facts.meters, glyphs, width) if tab == DEVICES else lines_of(tab, entries(facts, tab)[1], glyphs)
    return lines or [[(_EMPTY[tab], "dim")]]
