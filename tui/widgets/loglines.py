"""Many lines of text, wrapped to the width, with search, that follows its end until one scrolls away from it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence

from rich.segment import Segment
from textual.geometry import Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from ..actions import Acting, bindings
from ..glyphs import beginning
from .axes import Runs

MOST = 10_000
"""Lines that are kept at most."""


class LogLines(Acting, ScrollView, can_focus=True):
    """Lines as (text, layer) runs; only those in sight are drawn.

    Attributes:
        grows: whether lines come at the end, so that it can be followed.
        following: whether it stays at the newest line.
        sought: text that is searched; case counts where it has capitals.
    """

    SCOPE = "runlog"
    BINDINGS = bindings("runlog")
    LAYERS = ("dim", "strong", "title", "graph", "bad", "match", "here")
    COMPONENT_CLASSES = {f"log--{layer}" for layer in LAYERS}
    DEFAULT_CSS = """
    LogLines {
        background: transparent; scrollbar-size-vertical: 1; scrollbar-gutter: stable; overflow-x: hidden;
        & > .log--dim { color: $muted; }
        & > .log--strong { text-style: bold; }
        & > .log--title { color: $foreground; text-style: bold; }
        & > .log--graph { color: $accent; }
        & > .log--bad { color: $error; }
        & > .log--match { color: $accent; text-style: bold underline; }
        & > .log--here { text-style: bold reverse; }
    }
    """

    class Told(Message):
        """`status` has changed."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.lines: list[Runs] = []
        self.grows = self.following = True
        self.sought = ""
        self.matches: list[int] = []
        self.match = -1
        self._rows: list[tuple[int, int, int]] = []
        """(line, first character, character after the last) of each row."""
        self._wrapped = 0
        """Width that the rows are wrapped to."""
        self._status = ""

    # Content ----------------------------------------------------------------------------------------------------------

    def replace(self, lines: Sequence[Runs], *, grows: bool = True, follow: bool = True) -> None:
        """Show other lines.

        Args:
            grows: whether lines will be appended; else they are replaced as a whole, and one's place in them is kept.
            follow: whether to go to their end and stay there; else the place is kept as far as it goes.
        """
        start = self.grows and not grows
        self.grows, self.following = grows, grows and follow
        self.lines, self._rows = list(lines[-MOST:]), []
        self.matches, self.match = [], -1
        self._wrapped = self.scrollable_content_region.width
        self._add_rows(0)
        self._find(0)
        self._sized()
        if self.following:
            self._to_end()
        elif start:
            self.do_first()
        self.refresh()
        self._tell()

    def append(self, lines: Sequence[Runs]) -> None:
        """Add lines at the end; the oldest go where there are too many."""
        if len(self.lines) + len(lines) > MOST + MOST // 10:
            kept = [*self.lines, *lines][-MOST:]
            return self.replace(kept, follow=self.following)
        first = len(self.lines)
        self.lines += lines
        self._add_rows(first)
        self._find(first)
        self._sized()
        if self.following:
            self._to_end()
        self.refresh()
        self._tell()

    def on_resize(self) -> None:
        """Wrap to the new width; the first line in sight stays."""
        width = self.scrollable_content_region.width
        if width != self._wrapped:
            line = self._rows[self.scroll_offset.y][0] if self.scroll_offset.y < len(self._rows) else 0
            self._wrapped, self._rows = width, []
            self._add_rows(0)
            self._sized()
            if not self.following:
                self.scroll_to(y=self._row_of(line), animate=False, force=True)
        if self.following:
            self._to_end()
        self.refresh()

    def _add_rows(self, first: int) -> None:
        width = self._wrapped
        if width <= 0:  # not laid out yet
            return
        for number in range(first, len(self.lines)):
            text = _plain(self.lines[number])
            if len(text) * 2 <= width or (len(text) <= width and text.isascii()):
                self._rows.append((number, 0, len(text)))
            else:
                self._rows += [(number, start, stop) for start, stop in wrapped(text, width)]

    def _sized(self) -> None:
        self.virtual_size = Size(self._wrapped, len(self._rows))

    def _row_of(self, line: int) -> int:
        return bisect_left(self._rows, (line, 0, 0))

    def render_line(self, y: int) -> Strip:
        """One row."""
        base, width = self.rich_style, self.scrollable_content_region.width
        row = self.scroll_offset.y + y
        if row >= len(self._rows):
            return Strip.blank(width, base)
        line, start, stop = self._rows[row]
        segments, place = [], 0
        for text, layer in self._marked(line):
            part = text[max(0, start - place) : max(0, stop - place)]
            place += len(text)
            if part:
                style = base + self.get_component_rich_style(f"log--{layer}", partial=True) if layer else base
                segments.append(Segment(part, style))
        return Strip(segments).adjust_cell_length(width, base)

    def _marked(self, line: int) -> Runs:
        """A line's runs, with what is sought in a style of its own."""
        runs = self.lines[line]
        if not self.sought:
            return runs
        here = bool(self.matches) and self.matches[self.match] == line
        text = _plain(runs)
        folded = text if self._exact else text.lower()
        places = []
        at = folded.find(self.sought)
        while at >= 0:
            places.append((at, at + len(self.sought)))
            at = folded.find(self.sought, at + len(self.sought))
        return _overlaid(runs, places, "here" if here else "match")

    # Search -----------------------------------------------------------------------------------------------------------

    @property
    def _exact(self) -> bool:
        return self.sought != self.sought.lower()

    def search(self, text: str) -> None:
        """Mark every line with a text and go to the last one in sight or above."""
        self.sought, self.matches, self.match = text, [], -1
        self._find(0)
        if self.matches:
            bottom = self.scroll_offset.y + self.scrollable_content_region.height - 1
            last = self._rows[min(bottom, len(self._rows) - 1)][0] if self._rows else 0
            self.match = max(0, bisect_left(self.matches, last + 1) - 1)
            self._go()
        self.refresh()
        self._tell()

    def _find(self, first: int) -> None:
        if not self.sought:
            return
        for number in range(first, len(self.lines)):
            text = _plain(self.lines[number])
            if self.sought in (text if self._exact else text.lower()):
                self.matches.append(number)
        if self.matches and self.match < 0:
            self.match = len(self.matches) - 1

    def _go(self) -> None:
        """Bring the present match into sight."""
        row = self._row_of(self.matches[self.match])
        tall = self.scrollable_content_region.height
        if not self.scroll_offset.y <= row < self.scroll_offset.y + tall:
            self.scroll_to(y=max(0, row - tall // 2), animate=False, force=True)
        self.following = self.following and row >= len(self._rows) - tall
        self.refresh()
        self._tell()

    @property
    def status(self) -> str:
        """Where the search is, and that it does not follow; empty where there is nothing to say."""
        said = []
        if self.sought:
            keys = f"{self.key('runlog.next')} {self.key('runlog.previous')}"
            said.append(f"{self.match + 1} of {len(self.matches)} {keys}" if self.matches else f"nothing has {self.sought!r}")
        if self.grows and not self.following:
            said.append(f"{self.key('runlog.follow')} follows")
        return ", ".join(said)

    def _tell(self) -> None:
        if self.status != self._status:
            self._status = self.status
            self.post_message(self.Told())

    # Moving -----------------------------------------------------------------------------------------------------------

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Away from the end it follows no more, at the end it does again."""
        super().watch_scroll_y(old_value, new_value)
        if round(old_value) != round(new_value):
            self.following = self.grows and round(new_value) >= self.max_scroll_y
            self._tell()

    def _to_end(self) -> None:
        self.scroll_to(y=max(0, len(self._rows) - self.scrollable_content_region.height), animate=False, force=True)

    def _move(self, rows: int) -> None:
        self.scroll_to(y=self.scroll_offset.y + rows, animate=False, force=True)

    # Actions ----------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """While nothing is sought, these keys belong to whoever is further out."""
        return parameters not in (("runlog.next",), ("runlog.previous",), ("runlog.clear",)) or bool(self.sought)

    def why_not(self, name: str) -> str:
        """Nothing to go to, or to follow."""
        if name == "follow" and not self.grows:
            return "nothing comes at the end of this"
        if name in ("next", "previous", "clear") and not self.sought:
            return f"nothing is searched: {self.key('run.search')} does"
        if name in ("next", "previous") and not self.matches:
            return f"nothing has {self.sought!r}"
        return ""

    def do_down(self) -> None:
        self._move(1)

    def do_up(self) -> None:
        self._move(-1)

    def do_half_down(self) -> None:
        self._move(max(1, self.size.height // 2))

    def do_half_up(self) -> None:
        self._move(-max(1, self.size.height // 2))

    def do_first(self) -> None:
        self.scroll_to(y=0, animate=False, force=True)

    def do_last(self) -> None:
        self.following = self.grows
        self._to_end()
        self._tell()

    def do_follow(self) -> None:
        self.following = not self.following
        if self.following:
            self._to_end()
        self._tell()

    def do_next(self) -> None:
        self.match = (self.match + 1) % len(self.matches)
        self._go()

    def do_previous(self) -> None:
        self.match = (self.match - 1) % len(self.matches)
        self._go()

    def do_clear(self) -> None:
        self.search("")


def _plain(runs: Runs) -> str:
    return "".join(text for text, _ in runs)


def wrapped(text: str, width: int) -> list[tuple[int, int]]:
    """Where the rows of a long line begin and end: after a blank where there is one in the second half of the row."""
    rows: list[tuple[int, int]] = []
    start = 0
    while start < len(text):
        stop = start + len(beginning(text[start : start + max(1, width)], max(1, width)))
        stop = max(stop, start + 1)
        if stop < len(text) and (blank := text.rfind(" ", start + (stop - start) // 2, stop)) > 0:
            stop = blank + 1
        rows.append((start, stop))
        start = stop
    return rows or [(0, 0)]


def _overlaid(runs: Runs, places: Sequence[tuple[int, int]], layer: str) -> Runs:
    """Runs with the characters of some places in another layer."""
    found: Runs = []
    start = 0
    for text, own in runs:
        cuts = sorted({0, len(text), *(min(len(text), max(0, edge - start)) for place in places for edge in place)})
        for low, high in zip(cuts, cuts[1:]):
            inside = any(first <= start + low < last for first, last in places)
            found.append((text[low:high], layer if inside else own))
        start += len(text)
    return found
