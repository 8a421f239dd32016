"""The plot: curves over steps, with axes, legend, zoom and a cursor that reads values out."""

from __future__ import annotations

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.app import ComposeResult
from textual.geometry import Region
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from ..actions import Acting, bindings
from ..glyphs import UNICODE, Glyphs, beginning
from .axes import Runs, step_axis, value_labels
from .braille import Canvas
from .curves import COLOURS, LETTERS, Picture, averages, draw_cursor, draw_curves, legend, read_out, signs_of, window_of
from .view import CLOSEST, MEDIUM, SMOOTHING, View

_SLICES = 4
_HEADED = 7
"""Lines from which on there is one for title and legend."""
_HINTS = (
    (("zoom_in", "zoom_out"), "zoom"), (("earlier", "later"), "move"), (("left", "right"), "read"),
    (("log",), "log"), (("smooth",), "smooth"),
)  # fmt: skip
"""Actions whose keys are shown at the right of the title while they come here, and a word for them where there is room."""


class Slice(Widget):
    """A quarter of a plot's width. What is sent to the terminal is whole lines of widgets: most new points change the last quarter only."""

    DEFAULT_CSS = "Slice { width: 1fr; height: 1fr; }"

    def __init__(self, plot: Plot) -> None:
        super().__init__()
        self.plot = plot

    @property
    def columns(self) -> tuple[int, int]:
        """First column of the plot that it shows, and the one after the last."""
        start = self.region.x - self.plot.region.x
        return start, start + self.size.width

    def render_line(self, y: int) -> Strip:
        """Its part of a line."""
        return self.plot.line(y).crop(*self.columns)


class Plot(Acting, Widget, can_focus=True):
    """Curves over steps. `put` says what is drawn; `show` redraws the lines that changed; the owner calls them at most twice a second."""

    SCOPE = "plot"
    BINDINGS = bindings("plot")
    COMPONENT_CLASSES = {"plot--axis", "plot--label", "plot--title", "plot--raw", "plot--front", "plot--points", "plot--cursor"} | {
        f"plot--c{number}" for number in range(len(LETTERS))
    }
    DEFAULT_CSS = "\n".join(
        [
            "Plot { height: 1fr; min-height: 4; layout: horizontal; }",
            "Plot > .plot--axis { color: $rule; }",
            "Plot > .plot--label { color: $muted; }",
            "Plot > .plot--title { color: $foreground; }",
            "Plot:focus > .plot--title { text-style: bold; }",
            "Plot > .plot--raw { color: $faint; }",
            "Plot > .plot--front { color: $foreground; text-style: bold; }",
            "Plot > .plot--points { color: $warning; text-style: bold; }",
            "Plot > .plot--cursor { color: $faint; }",
            *(f"Plot > .plot--c{number} {{ color: {COLOURS[number % len(COLOURS)]}; }}" for number in range(len(LETTERS))),
        ]
    )

    class Moved(Message):
        """The view or the cursor was changed by a key or the mouse."""

    def __init__(self, *, id: str | None = None, glyphs: Glyphs = UNICODE) -> None:
        super().__init__(id=id)
        self.glyphs = glyphs
        self.picture, self.view = Picture(), View()
        self._rows: list[Runs] = []
        self._gutter, self._wide = 0, 1

    def compose(self) -> ComposeResult:
        """What draws the lines."""
        for _ in range(_SLICES):
            yield Slice(self)

    # Drawing ----------------------------------------------------------------------------------------------------------

    def put(self, picture: Picture) -> None:
        """Show a picture; the view stays."""
        self.picture = picture
        self.show()

    def show(self) -> None:
        """Draw again; only the lines that differ from the last drawing are sent to the terminal."""
        before, self._rows = self._rows, self._draw(self.size.width, self.size.height)
        if len(before) != len(self._rows):
            return self._refresh_all()
        changed = [
            (y, self._cells(old), self._cells(new)) for y, (old, new) in enumerate(zip(before, self._rows)) if old != new
        ]  # fmt: skip
        for part in self.query(Slice):
            start, stop = part.columns
            regions = [Region(0, y, stop - start, 1) for y, old, new in changed if old[start:stop] != new[start:stop]]
            if regions:
                part.refresh(*regions)

    def _cells(self, row: Runs) -> list[tuple[str, str]]:
        """A line cell by cell; a character that takes two has an empty one behind it."""
        cells = [cell for text, layer in row for character in text for cell in [(character, layer), ("", layer)][: cell_len(character)]]
        return cells + [(" ", "")] * (self.size.width - len(cells))

    def _refresh_all(self) -> None:
        for part in self.query(Slice):
            part.refresh()

    def on_resize(self) -> None:
        """The grid depends on the size."""
        self._rows = self._draw(self.size.width, self.size.height)
        self._refresh_all()

    def watch_has_focus(self, _has_focus: bool) -> None:
        """The title is bold while keys come here, and says which do something."""
        super().watch_has_focus(_has_focus)
        self.show()
        self._refresh_all()

    def line(self, y: int) -> Strip:
        """One line of the drawing."""
        if y >= len(self._rows):
            return Strip.blank(self.size.width, self.rich_style)
        base = self.rich_style
        segments = [
            Segment(text, base + self.get_component_rich_style(f"plot--{layer}", partial=True) if layer else base)
            for text, layer in self._rows[y]
        ]
        return Strip(segments).adjust_cell_length(self.size.width, base)

    def _draw(self, width: int, height: int) -> list[Runs]:
        if width < 16 or height < 4:
            return []
        steps, view, picture = self.picture.steps, self.view, self.picture
        low, high = view.steps(*steps) if steps else (0.0, 1.0)
        lines = averages(picture, view, low, high, width * 2)
        head = [self._head(lines, width)] if height >= _HEADED else []
        window = window_of(picture, view, low, high, lines)
        tall = height - 2 - len(head)
        if window is None or steps is None:
            said = f"no value above 0 here: {self.key('plot.log')} goes back to the linear axis" if steps and view.log else picture.waiting
            return [*head, *([[("", "")]] * (tall // 2)), [(" " * max(0, (width - len(said)) // 2) + said, "label")]]
        labels = value_labels(window, tall)
        self._gutter = max(map(len, labels.values()), default=1) + 1
        self._wide = width - self._gutter - 2
        if self._wide < 8:
            return []
        canvas = Canvas(self._wide, tall, self.glyphs.braille, signs_of(picture))
        draw_curves(canvas, picture, window, lines, self.glyphs)
        if view.cursor is not None:
            draw_cursor(canvas, picture, window, view.cursor, lines, self.glyphs)
        rows: list[Runs] = []
        for y in range(tall):
            axis = self.glyphs.axis if y in labels else self.glyphs.axis_line
            rows.append([(labels.get(y, "").rjust(self._gutter), "label"), (axis, "axis"), *canvas.row(y)])
        return [*head, *rows, *step_axis(window, self._gutter, self._wide, self.glyphs)]

    def _head(self, lines: dict[int, list[tuple[float, float]]], width: int) -> Runs:
        """Title and legend, or what the cursor reads, cut to the width."""
        view = self.view
        if view.cursor is not None:
            said: Runs = [(" ", ""), *read_out(self.picture, view, view.cursor, lines)]
        else:
            how = ["log"] if view.log else []
            how += [f"smoothing {view.smoothing_name}"] if self.picture.smooth and view.smoothing != MEDIUM else []
            title: Runs = [(f" {self.picture.title}", "title"), (f" ({', '.join(how)})" if how else "", "label")]
            said = title + legend(self.picture, view, self.glyphs, width - sum(len(text) for text, _ in title))
        shown, used = [], 0
        for text, layer in said:
            part = beginning(text, width - used)
            shown.append((part, layer))
            used += cell_len(part)
        hint = self._hint(width - used - 4) if self.has_focus and view.cursor is None else ""
        return [*shown, (" " * (width - used - len(hint) - 1) + hint, "label")] if hint else shown

    def _hint(self, room: int) -> str:
        """The keys that do something here, with words if they fit."""
        keys = [(" ".join(self.key(f"plot.{name}") for name in names), word) for names, word in _HINTS]
        full, short = "   ".join(f"{key} {word}" for key, word in keys), "  ".join(key for key, _ in keys)
        return full if len(full) <= room else short if len(short) <= room else ""

    # The mouse --------------------------------------------------------------------------------------------------------

    def on_click(self, event: events.Click) -> None:
        """Read out the values under the pointer."""
        steps = self.picture.steps
        if steps is not None:
            low, high = self.view.steps(*steps)
            share = (event.screen_x - self.region.x - self._gutter - 1) / max(1, self._wide - 1)
            self._put_cursor(low + min(1.0, max(0.0, share)) * (high - low))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """The wheel zooms."""
        event.stop()
        self.action_act("plot.zoom_in")

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """The wheel zooms."""
        event.stop()
        self.action_act("plot.zoom_out")

    # Actions ----------------------------------------------------------------------------------------------------------

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool:
        """Esc belongs to the plot only while there is a cursor to take away; else to whoever is further out."""
        return parameters != ("plot.put_away",) or self.view.cursor is not None

    def why_not(self, name: str) -> str:
        """What the view forbids."""
        if self.picture.steps is None:
            return "there is nothing to see yet"
        if name == "smooth" and not self.picture.smooth:
            return f"{self.picture.title.lower()} is drawn as it is"
        if name == "zoom_in" and 0 < self.view.span <= CLOSEST:
            return "it shows single steps already"
        if name in ("zoom_out", "earlier", "later") and not self.view.span:
            return f"it shows all steps already: {self.key('plot.zoom_in')} zooms in"
        if name == "put_away" and self.view.cursor is None:
            return "there is no cursor: the arrow keys bring one"
        return ""

    def _changed(self) -> None:
        self.show()
        self.post_message(self.Moved())

    def _all(self) -> tuple[float, float]:
        return self.picture.steps or (0.0, 1.0)

    def do_zoom_in(self) -> None:
        self.view.zoom(0.5, *self._all())
        self._changed()

    def do_zoom_out(self) -> None:
        self.view.zoom(2.0, *self._all())
        self._changed()

    def do_all(self) -> None:
        self.view.show_all()
        self._changed()

    def do_earlier(self) -> None:
        self.view.pan(-0.5, *self._all())
        self._changed()

    def do_later(self) -> None:
        self.view.pan(0.5, *self._all())
        self._changed()

    def do_log(self) -> None:
        self.view.log = not self.view.log
        self._changed()

    def do_smooth(self) -> None:
        self.view.smoothing = (self.view.smoothing + 1) % len(SMOOTHING)
        self._changed()

    def do_left(self) -> None:
        self._step_cursor(-1)

    def do_right(self) -> None:
        self._step_cursor(1)

    def do_first(self) -> None:
        self._put_cursor(self._all()[0])

    def do_last(self) -> None:
        self._put_cursor(self._all()[1])

    def do_put_away(self) -> None:
        self.view.cursor = None
        self._changed()

    def _step_cursor(self, by: int) -> None:
        """To the next point of the main curve that lies in another column of cells; the first time to the last point."""
        main = self.picture.main
        series = (main.series or main.points) if main else None
        if not series:
            return
        if self.view.cursor is None:
            return self._put_cursor(series.xs[-1])
        low, high = self.view.steps(*self._all())
        column = (high - low) / max(1, self._wide - 1)
        place, start = series.nearest(self.view.cursor + by * column), series.nearest(self.view.cursor)
        self._put_cursor(series.xs[max(0, min(len(series) - 1, place if place != start else start + by))])

    def _put_cursor(self, step: float) -> None:
        """On the point of the main curve that is nearest."""
        main = self.picture.main
        series = (main.series or main.points) if main else None
        if series:
            self.view.move_cursor(series.xs[series.nearest(step)], *self._all())
            self._changed()
