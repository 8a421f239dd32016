"""Dialogs of the catalog: the tags of an adapter, and where two adapters differ."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ..format import human_bytes
from ..glyphs import padded, shorten
from ..widgets.fields import Field, show_value
from ..widgets.reading import Reading
from .messages import Dialog
from .transfers import FormDialog

if TYPE_CHECKING:
    from ...core.catalog.lineage import Difference


class TagsDialog(FormDialog):
    """The words that an adapter is found by: all of them in one line, to be changed there."""

    starts_at_end = False

    def __init__(self, name: str, path: str, tags: Sequence[str], done: Callable[[], object]) -> None:
        """
        Args:
            done: called when the tags are written.
        """
        super().__init__()
        self.path, self.tags, self.done = path, list(tags), done
        self.title_text = f"Tags of {name}"

    def fields(self) -> list[Field]:
        """One line and the button."""
        return [
            Field("tags", "tags", "list", self.tags, default=self.tags, note="words, separated by commas"),
            Field("go", "Save", "button"),
        ]

    def preview(self) -> None:
        """What changes."""
        new, removed = self._changes()
        said = [f"adds {', '.join(new)}"] * bool(new) + [f"removes {', '.join(removed)}"] * bool(removed)
        self.say(Content.styled("; ".join(said) or "nothing changes; #tag in the filter shows what has a tag", "$muted"))

    def _changes(self) -> tuple[list[str], list[str]]:
        wanted = self.value("tags")
        return [tag for tag in wanted if tag not in self.tags], [tag for tag in self.tags if tag not in wanted]

    def do_accept(self) -> None:
        from .. import backend

        add, remove = self._changes()

        def written(_: Any) -> None:
            self.done()
            self.dismiss(None)

        self.work(lambda: backend.tag_adapter(self.app.home, self.path, add, remove), written, failed=self.say_problem)


class DiffDialog(Dialog):
    """Where two adapters differ, side by side."""

    def __init__(self, first: str, second: str, rows: Sequence[Difference]) -> None:
        super().__init__()
        self.first, self.second, self.rows = first, second, rows

    def compose(self) -> ComposeResult:
        """The table, the keys."""
        with Vertical(classes="box -tall") as box:
            box.border_title = "Where they differ"
            with Reading(classes="scroll"):
                yield Static(id="differences", classes="text")
            yield Static(Content("esc close  y copy"), classes="keys")

    def on_mount(self) -> None:
        """Arrow keys scroll."""
        self.query_one(Reading).focus()

    def on_resize(self) -> None:
        """Columns depend on the width."""
        self.call_after_refresh(lambda: self.query_one("#differences", Static).update(self.table(self.query_one(Reading).size.width - 1)))

    def table(self, width: int) -> Content:
        """Names above, a row for each difference; values that do not fit are cut."""
        if not self.rows:
            return Content.styled(f"{self.first} and {self.second} are the same in everything that is compared.", "$muted")
        glyphs = self.app.glyphs  # type: ignore[attr-defined]
        label = min(max(len(row.key) for row in self.rows), width // 3)
        room = (width - label - 4) // 2

        def cells(key: str, first: str, second: str) -> list[str]:
            return [padded(shorten(text, size, glyphs), size) for text, size in ((key, label), (first, room), (second, room))]

        lines = [Content.styled("  ".join(cells("", self.first, self.second)), "bold $foreground")]
        for row in self.rows:
            key, first, second = cells(row.key, _value(row.key, row.first), _value(row.key, row.second))
            lines.append(Content.assemble((key, "$muted"), f"  {first}  {second}"))
        return Content("\n").join(lines)

    def text_to_copy(self) -> str:
        lines = [f"\t{self.first}\t{self.second}", *(f"{row.key}\t{row.first}\t{row.second}" for row in self.rows)]
        return "\n".join(lines)


def _value(key: str, value: Any) -> str:
    if value is None:
        return "-"
    return human_bytes(value) if key == "size_bytes" else show_value(value)
