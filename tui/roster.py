"""Who can answer in the playground: the base, its adapters and a blend of them; which do, and how they are listed. No widgets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len
from textual.content import Content

from ..core.blends import parse_blend
from ..core.errors import NotFound, UsageError, closest
from .format import swap_time
from .glyphs import Glyphs, bar, padded, shorten, shorten_middle
from .talk import BLEND

if TYPE_CHECKING:
    from ..core.catalog.entries import AdapterEntry

STEP = 0.05
FIRST_WEIGHT = 0.5
_SLIDER = 10
_KIND = 12
"""Cells at most for the method; where names are long it gets less."""
_WHERE = 8
"""Cells of the last column: ``0.004 ms``, ``resident``, ``on disk``."""
_FULL = 1.0
"""The weight at which a slider is full; beyond it only the number grows."""


@dataclass
class Roster:
    """The voices of one base.

    Attributes:
        adapters: of this base, in the catalog's order.
        current: the voice that answers while none is marked.
        marked: voices that answer together.
        weights: of the blend, by path; empty: there is none.
        resident: paths of the adapters in memory.
        swaps: seconds of each voice's last swap.
    """

    model_name: str = ""
    adapters: list[AdapterEntry] = field(default_factory=list)
    current: str = ""
    marked: list[str] = field(default_factory=list)
    weights: dict[str, float] = field(default_factory=dict)
    resident: set[str] = field(default_factory=set)
    swaps: dict[str, float] = field(default_factory=dict)
    _on: tuple[str, tuple[tuple[str, float], ...]] | None = None

    @property
    def answering(self) -> list[str]:
        """The voices that answer the next prompt."""
        return list(self.marked) or [self.current]

    def called(self, voice: str) -> str:
        """What a voice is called: its name in the catalog where it is there."""
        if voice == BLEND:
            return " + ".join(f"{weight:.2f} {self.called(path)}" for path, weight in self.weights.items())
        if not voice:
            return f"{self.model_name} (base)"
        return next((entry.name for entry in self.adapters if entry.path == voice), Path(voice).name)

    def choose(self, voice: str) -> None:
        """This one answers from now on, alone."""
        self.current, self.marked = voice, []

    def mark(self, voice: str) -> None:
        """This one answers too, or no longer."""
        (self.marked.remove if voice in self.marked else self.marked.append)(voice)

    def mix(self, path: str) -> None:
        """Take an adapter into the blend, which then answers, or out of it."""
        if self.weights.pop(path, None) is None:
            self.weights[path] = FIRST_WEIGHT
            self.current = BLEND
        elif not self.weights:
            self.current = "" if self.current == BLEND else self.current
            self.marked = [voice for voice in self.marked if voice != BLEND]

    def weigh(self, path: str, by: float) -> None:
        """Change a weight of the blend."""
        self.weights[path] = round(self.weights[path] + by, 4) + 0.0

    def forget(self) -> None:
        """Another worker: nothing is in memory there."""
        self.resident, self.swaps, self._on = set(), {}, None

    def swapped(self, voice: str, seconds: float) -> None:
        """A voice has answered: its swap counts where another one, or other weights, were on before."""
        now = (voice, tuple(self.weights.items()) if voice == BLEND else ())
        if now != self._on:
            self._on, self.swaps[voice] = now, seconds

    def obey(self, line: str, last: str = "") -> str | None:
        """Do what ``finetui chat`` does with a line that is a command; returns what is to be asked (perhaps nothing).

        Args:
            last: the last prompt, which ``/compare`` alone asks again.

        Returns:
            ``None`` where the line is no command.

        Raises:
            NotFound: an adapter is named that this base has not.
            UsageError: the weights of a blend cannot be read, or there is nothing to compare.
        """
        word, _, rest = line.partition(" ")
        if word == "/base":
            self.choose("")
        elif word == "/swap":
            self.choose(self._find(rest.strip()))
        elif word == "/blend":
            self.weights = {self._find(name): weight for name, weight in parse_blend(rest).items()}
            self.choose(BLEND)
        elif word == "/compare":
            if not (rest.strip() or last):
                raise UsageError("/compare needs a prompt", "/compare What is the capital of France?")
            there = [entry.path for entry in self.adapters if entry.path in self.resident]
            self.marked = ["", *there, *([BLEND] if self.weights else [])]
            return rest.strip() or last
        else:
            return None
        return ""

    def _find(self, name: str) -> str:
        known = {entry.name: entry.path for entry in self.adapters}
        if name not in known:
            raise NotFound(f"no adapter of {self.model_name} is called '{name}'", closest(name, known, "adapter"))
        return known[name]

    def lines(self, width: int, glyphs: Glyphs, words: str = "") -> list[tuple[str, Content, bool]]:
        """The list, ``(id, text, can be chosen)``: base, adapters that match ``words``, the blend with its sliders."""
        shown = [entry for entry in self.adapters if all(word in f"{entry.name} {entry.method}".lower() for word in words.lower().split())]
        kinds = {entry.path: entry.method + (f" r{entry.rank}" if entry.rank else "") for entry in shown}
        longest = max(map(cell_len, [self.model_name, *(entry.name for entry in shown)]))
        widest = min(_KIND, max([4, *map(cell_len, kinds.values())]), max(4, width - longest - _WHERE - 4))  # names come first

        def line(voice: str, name: str, kind: str) -> tuple[str, Content, bool]:
            return self._line(voice, name, padded(shorten(kind, widest, glyphs), widest), width, glyphs)

        lines = [line("", self.model_name, "base"), *(line(entry.path, entry.name, kinds[entry.path]) for entry in shown)]
        if not self.adapters:
            lines.append(("none", Content.styled("no adapters of this base yet: n trains one", "$muted"), False))
        elif not shown:
            lines.append(("none", Content.styled("nothing matches", "$muted"), False))
        if self.weights:
            lines.append(line(BLEND, BLEND, ""))
            lines += [self._slider(path, weight, width, glyphs) for path, weight in self.weights.items()]
        return lines

    def _line(self, voice: str, name: str, kind: str, width: int, glyphs: Glyphs) -> tuple[str, Content, bool]:
        here = voice in self.answering
        mark = glyphs.marked if voice in self.marked else glyphs.states["running"] if here else " "
        swap = swap_time(self.swaps[voice]) if voice in self.swaps else ""
        where = swap or ("resident" if voice in self.resident else "on disk" if voice not in ("", BLEND) else "")
        room = max(4, width - cell_len(mark) - cell_len(kind) - _WHERE - 3)
        text = Content.assemble(
            (f"{mark} ", "$accent"), (padded(shorten_middle(name, room, glyphs), room), "bold $foreground" if here else "$foreground"),
            (f" {kind} ", "$muted"), (where.rjust(_WHERE), "$muted" if swap else "$faint"),
        )  # fmt: skip
        return f"voice:{voice}", text, True

    def _slider(self, path: str, weight: float, width: int, glyphs: Glyphs) -> tuple[str, Content, bool]:
        number = f"{weight:6.2f}"
        room = max(4, width - _SLIDER - len(number) - 6)
        filled = bar(abs(weight) / _FULL, _SLIDER, glyphs)
        text = Content.assemble(
            "    ", (padded(shorten_middle(self.called(path), room, glyphs), room), "$foreground"),
            (f" {filled}", "$accent" if weight > 0 else "$muted"), (number, "$foreground"),
        )  # fmt: skip
        return f"weight:{path}", text, True
