"""Running text that is wrapped right in every script, and laid out again only when its number of lines changes."""

from __future__ import annotations

from textual.content import Content
from textual.geometry import Size
from textual.widget import Widget

from ..wrapping import line_spans


class Wrapped(Widget):
    """Text as wide as its container and as high as it must be."""

    DEFAULT_CSS = "Wrapped { height: auto; width: 1fr; }"

    def __init__(self, text: Content | str = "", *, classes: str | None = None) -> None:
        super().__init__(classes=classes)
        self._text = Content(text) if isinstance(text, str) else text
        self._wrapped: tuple[int, list[Content]] | None = None

    def say(self, text: Content) -> None:
        """Show another text."""
        before = self._wrapped
        self._text, self._wrapped = text, None
        self.refresh(layout=before is None or len(self._lines(before[0])) != len(before[1]))

    def _lines(self, width: int) -> list[Content]:
        if self._wrapped is None or self._wrapped[0] != width:
            text = self._text.expand_tabs(4)
            self._wrapped = width, [text[start:end] for start, end in line_spans(text.plain, width)]
        return self._wrapped[1]

    def get_content_width(self, container: Size, viewport: Size) -> int:
        """All there is."""
        return container.width

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """One row a line."""
        return len(self._lines(width))

    def render(self) -> Content:
        """The lines."""
        return Content("\n").join(self._lines(self.content_size.width))
