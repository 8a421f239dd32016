"""A list of lines with the keys that terminal users expect."""

from __future__ import annotations

from collections.abc import Sequence

from textual.content import Content
from textual.message import Message
from textual.reactive import reactive
from textual.widgets import OptionList
from textual.widgets.option_list import Option

from ..actions import Acting, bindings


class Lines(Acting, OptionList):
    """An option list that is updated in place: lines keep their identity by id, only the different ones are drawn again."""

    BINDINGS = bindings("list")
    highlighted: reactive[int | None] = reactive(None, repaint=False)
    marks = False
    """Whether space marks lines (the owner keeps which); else it is the same as enter."""

    class Marked(Message):
        """Space on a line, where lines can be marked."""

        def __init__(self, identifier: str) -> None:
            super().__init__()
            self.identifier = identifier

    DEFAULT_CSS = """
    Lines, Lines:focus {
        border: none; padding: 0; background: transparent; height: 1fr; scrollbar-size-vertical: 1; background-tint: transparent;
        & > .option-list--option { padding: 0 1; }
        & > .option-list--option-disabled { color: $muted; text-style: none; }
    }
    Lines > .option-list--option-highlighted { background: transparent; color: $foreground; text-style: none; }
    Lines:focus > .option-list--option-highlighted { background: $chosen; color: $foreground; text-style: none; }
    Lines:ansi:focus > .option-list--option-highlighted { background: ansi_default; text-style: reverse; }
    Lines > .option-list--option-hover { background: transparent; }
    """

    def watch_highlighted(self, before: int | None, highlighted: int | None) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The cursor moved: of all lines only two look different (Textual draws all of them)."""
        for index in (before, highlighted):
            if index in self._index_to_line:
                self.refresh_lines(self._index_to_line[index], self._heights[index])
        super().watch_highlighted(highlighted)

    def show(self, lines: Sequence[tuple[str, Content | str, bool]]) -> None:
        """Show ``(id, text, can be chosen)`` lines; the cursor stays on its line."""
        ids = [identifier for identifier, _, _ in lines]
        if ids == [option.id for option in self.options] and all(
            self.get_option(identifier).disabled is not enabled for identifier, _, enabled in lines
        ):
            for index, (_, text, _) in enumerate(lines):
                if not _same(self.options[index].prompt, text):
                    self._draw_anew(index, text)
            return
        chosen = self.chosen
        offset = self.scroll_offset
        self.clear_options()
        self.add_options([Option(text, id=identifier, disabled=not enabled) for identifier, text, enabled in lines])
        places = [i for i, (_, _, enabled) in enumerate(lines) if enabled]
        if chosen in ids and ids.index(chosen) in places:
            self.highlighted = ids.index(chosen)
            self.scroll_to(y=offset.y, animate=False)
        elif places:
            self.highlighted = places[0]

    def _draw_anew(self, index: int, text: Content | str) -> None:
        """Give a line another text and draw that line only, where it stays as high (`replace_option_prompt` draws the whole list)."""
        option, height = self.options[index], self._heights.get(index)
        option._set_prompt(text)
        width = self.scrollable_content_region.width - self.get_component_styles("option-list--option").padding.width
        if height is not None and height == self._get_visual(option).get_height(self.styles.get_rules(), width):
            self._option_render_cache.clear()
            self.refresh_lines(self._index_to_line[index], height)
        else:
            self._clear_caches()

    @property
    def chosen(self) -> str:
        """Id of the line under the cursor; empty where there is none."""
        option = self.highlighted_option
        return (option.id or "") if option is not None else ""

    def choose(self, identifier: str) -> None:
        """Put the cursor on a line."""
        self.highlighted = self.get_option_index(identifier)

    def do_down(self) -> None:
        self.action_cursor_down()

    def do_up(self) -> None:
        self.action_cursor_up()

    def do_first(self) -> None:
        self.action_first()

    def do_last(self) -> None:
        self.action_last()

    def do_half_down(self) -> None:
        self.action_page_down()

    def do_half_up(self) -> None:
        self.action_page_up()

    def do_mark(self) -> None:
        """Space: the same as enter, unless the owner of the list marks lines."""
        if self.marks:
            self.post_message(self.Marked(self.chosen))
        else:
            self.action_select()


def _same(old: object, new: Content | str) -> bool:
    """Whether two lines look the same, styles included."""
    if isinstance(old, Content) and isinstance(new, Content):
        return old.is_same(new)
    return old == new
