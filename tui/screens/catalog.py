"""The catalog: base models, below each its adapters; details and what can be done with the selected one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from textual.app import ComposeResult
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.content import Content
from textual.widgets import OptionList, Static

from ..actions import bindings
from ..backend import Shelf
from ..format import plural
from ..newrun import is_model_folder
from ..shelflines import Entry, details, entry_line, identifier, is_model, tree
from ..widgets.filterline import FilterLine
from ..widgets.lists import Lines
from .artifacts import ArtifactActions
from .base import View
from .filtered import Filtered
from .messages import ConfirmDialog, PickDialog

DIGEST_LIMIT = 500_000_000
"""Bytes of weights up to which a digest is computed just for looking at an entry."""


class CatalogScreen(Filtered, ArtifactActions, View):
    """Models and adapters."""

    SCOPE = "catalog"
    FILTERED = "#entries"
    BINDINGS = bindings("catalog")

    def __init__(self) -> None:
        super().__init__()
        self.shelf: Shelf | None = None
        self.entries: dict[str, Entry] = {}
        self.digests: dict[str, str] = {}
        self.cards: dict[str, Content] = {}
        """Rendered model cards by folder, of what was looked at."""
        self.sort = "name"
        self.marked = ""
        """Folder of the adapter that others are compared with."""
        self._ended = -1

    def content(self) -> ComposeResult:
        """Tree left, details right."""
        with Horizontal(id="catalog-columns", classes="columns"):
            with Vertical(id="catalog-left", classes="pane"):
                yield FilterLine(id="filter")
                entries = Lines(id="entries")
                entries.marks = True
                yield entries
            with Vertical(id="catalog-right", classes="pane"), VerticalScroll(id="details-scroll", can_focus=True):
                yield Static(id="details")

    def on_mount(self) -> None:
        """Scan."""
        self.titled(self.query_one("#catalog-left"), "Models and adapters", "reading")
        self.titled(self.query_one("#catalog-right"), "Details")
        self.lines.focus()
        self.do_refresh()

    def on_screen_resume(self) -> None:
        """Something may have been made meanwhile."""
        if self.shelf is not None:
            self.do_refresh()

    def runs_changed(self) -> None:
        """A run that has just ended may have made something."""
        ended = sum(not row.active for row in self.app.rows)
        if self._ended not in (-1, ended):
            self.do_refresh()
        self._ended = ended

    def on_resize(self) -> None:
        """Columns depend on the width."""
        self.call_after_refresh(self.show_filtered)

    @property
    def lines(self) -> Lines:
        """The tree."""
        return self.query_one("#entries", Lines)

    @property
    def selected(self) -> Entry | None:
        """What is under the cursor."""
        return self.entries.get(self.lines.chosen)

    # State ------------------------------------------------------------------------------------------------------------

    def do_refresh(self) -> None:
        from .. import backend

        self.work(lambda: backend.read_catalog(self.app.home), self._have, group="catalog")

    def _have(self, shelf: Shelf) -> None:
        self.shelf = shelf
        self.cards.clear()
        self.show_filtered()
        self._look_closer()

    def show_filtered(self) -> None:
        if self.shelf is None:
            return
        shown = tree(self.shelf.models, self.shelf.adapters, self.query_one(FilterLine).value, self.sort)
        self.entries = {identifier(entry): entry for entry, _ in shown if entry is not None}
        width = max(50, self.lines.size.width - 3)
        lines: list[tuple[str, Content | str, bool]] = []
        for entry, place in shown:
            if entry is None:
                lines.append(("loose", Content.styled("base not on this machine", "bold $muted"), False))
            else:
                lines.append(
                    (identifier(entry), entry_line(entry, bool(place), self.app.glyphs, width, marked=entry.path == self.marked), True)
                )
        self.lines.show(lines or [("none", Content.styled("nothing matches the filter; esc clears it", "$muted"), False)])
        adapters = sum(not is_model(entry) for entry in self.entries.values())
        counted = f"{plural(len(self.entries) - adapters, 'model')}, {plural(adapters, 'adapter')}" + (
            f", by {self.sort}" if self.sort != "name" else ""
        )
        self.titled(self.query_one("#catalog-left"), "Models and adapters", counted)
        self._show_details()

    def _show_details(self) -> None:
        entry = self.selected
        text = details(entry, self.digests.get(entry.path), self.app.glyphs) if entry else Content("")
        card = self.cards.get(entry.path) if entry else None
        if card:
            text = Content.assemble(text, "\n\n", ("model card", "bold $muted"), "\n", card)
        self.query_one("#details", Static).update(text)
        self.keys_changed()

    def on_option_list_option_highlighted(self) -> None:
        """Details of another line."""
        self._show_details()
        self._look_closer()

    def _look_closer(self) -> None:
        """Read the card of the selected entry, and its digest where that is quick."""
        from .. import backend

        entry = self.selected
        if entry is not None and entry.path not in self.cards:
            self._read_card(entry.path)
        if entry is None or entry.digest or entry.path in self.digests or entry.problem or entry.size_bytes > DIGEST_LIMIT:
            return
        path = entry.path

        def have(digest: str) -> None:
            self.digests[path] = digest
            self._show_details()

        self.work(lambda: backend.digest(self.app.home, path), have, failed=lambda _: None, group="digest")

    def _read_card(self, path: str) -> None:
        from .. import backend
        from ..cardlines import card_lines

        def have(card: tuple[dict[str, Any], str]) -> None:
            self.cards[path] = card_lines(*card, self.app.glyphs) if card != ({}, "") else Content("")
            self._show_details()

        self.work(lambda: backend.local_card(path), have, failed=lambda _: None, group="card")

    def on_lines_marked(self, message: Lines.Marked) -> None:
        """Space marks an adapter to compare others with, and takes the mark off again."""
        entry = self.selected
        if entry is None or is_model(entry):
            return self.app.notify("only adapters can be marked, to see where others differ", severity="warning")
        self.marked = "" if self.marked == entry.path else entry.path
        self.show_filtered()

    async def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter: into the details."""
        self.query_one("#details-scroll").focus()

    # Actions ----------------------------------------------------------------------------------------------------------

    def why_not(self, name: str) -> str:
        """What speaks against an action on the selected entry."""
        entry = self.selected
        if name in ("add", "pull", "filter", "refresh", "sort", "search"):
            return ""
        if entry is None:
            return "nothing is selected"
        if name in ("new", "chat", "merge") and not is_model(entry) and not entry.base_path:
            return f"the base of {entry.name} ({entry.base or 'unknown'}) is not on this machine: i imports it"
        if name in ("new", "chat", "merge", "push") and entry.problem:
            return f"{entry.name} cannot be used: {entry.problem}"
        if name == "merge" and is_model(entry):
            return f"{entry.name} is a whole model; select an adapter"
        if name == "push" and is_model(entry) and not entry.method:
            return f"{entry.name} was not made here; select an adapter"
        if name == "tag" and is_model(entry) and entry.source != "trained":
            return f"{entry.name} is no adapter: tags are kept with adapters"
        if name == "diff" and (is_model(entry) or not self.marked or self.marked == entry.path):
            return "mark one adapter with space, then select another"
        if name == "delete" and entry.source in ("embedded", "cache"):
            return f"{entry.name} is {'built in' if entry.source == 'embedded' else 'in the Hugging Face cache'} and stays"
        return ""

    def do_new(self) -> None:
        entry = self.selected
        self.app.new_run(model=(entry.name if is_model(entry) else entry.base_path) if entry else "")

    async def do_chat(self) -> None:
        entry = self.selected
        if entry is not None:
            await self.app.chat_with(entry.path if is_model(entry) else entry.base_path, "" if is_model(entry) else entry.path)

    def do_merge(self) -> None:
        entry = self.selected
        if entry is not None:
            self.open_merge(entry.base_path, entry.path)

    def do_sort(self) -> None:
        from ...core.catalog.entries import ADAPTER_SORTS

        self.sort = ADAPTER_SORTS[(ADAPTER_SORTS.index(self.sort) + 1) % len(ADAPTER_SORTS)]
        self.show_filtered()

    def do_tag(self) -> None:
        from .shelf import TagsDialog

        entry = self.selected
        if entry is not None:
            self.app.push_screen(TagsDialog(entry.name, entry.path, entry.tags, self.do_refresh))

    def do_diff(self) -> None:
        from .. import backend
        from .shelf import DiffDialog

        entry, marked = self.selected, self.marked
        if entry is not None:
            names = Path(marked).name, entry.name
            self.work(
                lambda: backend.differences(self.app.home, marked, entry.path), lambda rows: self.app.push_screen(DiffDialog(*names, rows))
            )

    def do_push(self) -> None:
        entry = self.selected
        if entry is not None:
            self.open_push(entry.path)

    def do_add(self) -> None:
        from .. import backend

        def added(name: str) -> None:
            self.app.notify(f"{name} is in the catalog")
            self.do_refresh()

        def chosen(value: str | None) -> None:
            if value:
                self.work(lambda: backend.add_folder(self.app.home, Path(value)), added)

        self.app.push_screen(PickDialog("Import a model or adapter folder", folders_here(), paths=is_artifact), chosen)

    def do_pull(self) -> None:
        from .transfers import PullDialog

        self.app.push_screen(PullDialog())

    def do_search(self) -> None:
        from .transfers import SearchDialog

        entry = self.selected
        self.app.push_screen(SearchDialog(entry.hub_id if entry is not None and is_model(entry) else ""))

    def do_delete(self) -> None:
        from .. import backend

        entry = self.selected
        if entry is None:
            return
        kind = "model" if is_model(entry) else "adapter"
        ours = Path(entry.path).is_relative_to(self.app.home.root)
        what = "Its folder is deleted." if ours else "Only its entry in the catalog goes; the folder stays where it is."

        def answered(yes: bool | None) -> None:
            if yes:
                self.work(lambda: backend.remove_artifact(self.app.home, kind, entry.name), lambda _: self.do_refresh())

        self.app.push_screen(ConfirmDialog(f"Delete {kind} {entry.name}?", f"{entry.path}\n{what}", f"Delete the {kind}"), answered)

    def do_copy(self) -> None:
        entry = self.selected
        if entry is not None:
            self.app.copy_to_clipboard(entry.path)
            self.app.notify(f"copied {entry.path}")


def is_artifact(path: Path) -> bool:
    """Whether a folder holds a model or an adapter."""
    return is_model_folder(path) or (path / "adapter_config.json").is_file()


def folders_here() -> list[tuple[str, str, str]]:
    """Model and adapter folders in the working directory; others are typed as a path."""
    found = []
    for entry in sorted(os.scandir("."), key=lambda entry: entry.name):
        path = Path(entry.path).absolute()
        if not entry.name.startswith(".") and entry.is_dir() and is_artifact(path):
            found.append((str(path), entry.name, "adapter" if (path / "adapter_config.json").is_file() else "model"))
    return found
