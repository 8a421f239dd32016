"""Small dialogs: an error with its hint, a question, a choice from a list."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from textual.app import ComposeResult
from textual.containers import Vertical, VerticalScroll
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Input, OptionList, Static

from ...core.errors import FineTUIError
from ..actions import Acting, bindings
from ..glyphs import padded
from ..widgets.lists import Lines

if TYPE_CHECKING:
    from ..app import FineTuiApp


class Dialog(Acting, ModalScreen[Any]):
    """A box over the screen; esc leaves it without doing anything."""

    if TYPE_CHECKING:
        app: FineTuiApp  # type: ignore[assignment]

    SCOPE = "dialog"
    BINDINGS = bindings("dialog")
    DEFAULT_CLASSES = "dialog"
    HORIZONTAL_BREAKPOINTS = [(0, "-tiny"), (72, "-narrow"), (100, "-wide")]

    def why_not(self, name: str) -> str:
        """Nothing to accept unless the dialog says so."""
        return "" if name != "accept" or type(self).do_accept is not Dialog.do_accept else "there is nothing to start here"

    def do_accept(self) -> None:
        """What the dialog offers."""

    def do_close(self) -> None:
        self.dismiss(None)

    def do_copy(self) -> None:
        self.app.copy_to_clipboard(self.text_to_copy())
        self.app.notify("copied")

    def text_to_copy(self) -> str:
        """What ``y`` copies."""
        return ""


class ErrorDialog(Dialog):
    """What went wrong and what to do about it."""

    def __init__(self, problem: FineTUIError) -> None:
        super().__init__()
        self.problem = problem

    def compose(self) -> ComposeResult:
        """Message, hint, keys."""
        with Vertical(classes="box") as box:
            box.border_title = f"{self.app.glyphs.states['failed']} {self.problem.kind.replace('_', ' ')}"
            with VerticalScroll(classes="scroll"):
                yield Static(Content(self.problem.message), classes="text")
                if self.problem.hint:
                    yield Static(Content(self.problem.hint), classes="hint")
            yield Static(Content(self.keys_line(("dialog.close", "close"), ("dialog.copy", "copy"))), classes="keys")

    def text_to_copy(self) -> str:
        return f"error: {self.problem.message}\nhint: {self.problem.hint}" if self.problem.hint else f"error: {self.problem.message}"

    def key_enter(self) -> None:
        """Enter closes as well."""
        self.dismiss(None)


class ConfirmDialog(Dialog):
    """A question about something that is hard to undo; dismissed with whether to do it."""

    def __init__(self, question: str, detail: str, answer: str) -> None:
        super().__init__()
        self.question, self.detail, self.answer = question, detail, answer

    def compose(self) -> ComposeResult:
        """Question, what would happen, the two answers; the safe one is first."""
        with Vertical(classes="box") as box:
            box.border_title = Content(self.question).markup
            yield Static(Content(self.detail), classes="text")
            yield Lines(id="answers")

    def on_mount(self) -> None:
        """The answers."""
        answers = self.query_one(Lines)
        answers.styles.height = 3
        answers.styles.margin = (1, 0, 0, 0)
        answers.show([("no", "Leave it as it is", True), ("yes", Content.styled(self.answer, "$error"), True)])
        answers.focus()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter on an answer."""
        self.dismiss(event.option_id == "yes")

    def do_accept(self) -> None:
        self.dismiss(True)


class PickDialog(Acting, ModalScreen[Any]):
    """A list to choose from by typing a part of it; with ``paths`` also files, by typing a path."""

    SCOPE = "pick"
    BINDINGS = bindings("pick")
    DEFAULT_CLASSES = "dialog"

    def __init__(
        self,
        title: str,
        entries: Sequence[tuple[str, str, str]],
        *,
        chosen: str = "",
        paths: Callable[[Path], bool] | None = None,
        reasons: Mapping[str, str] | None = None,
    ) -> None:
        """
        Args:
            entries: (value, label, note) of each line.
            reasons: value → what is said below the list while the cursor is on its line.
            paths: which files (or folders) may be chosen by path; ``None``: none.
        """
        super().__init__()
        self.title_text, self.entries, self.first, self.paths = title, list(entries), chosen, paths
        self.reasons = reasons or {}

    def compose(self) -> ComposeResult:
        """Text, list, keys."""
        with Vertical(classes="box -tall") as box:
            box.border_title = Content(self.title_text).markup
            yield Input(placeholder="type to filter" + (", or a path" if self.paths else ""), id="pick-text", select_on_focus=False)
            yield Lines(id="pick-lines")
            if self.reasons:
                yield Static(id="pick-reason", classes="hint")
            yield Static(Content(self.keys_line(*self.hints())), classes="keys")

    def hints(self) -> list[tuple[str, str]]:
        """Keys for the last line, and what they do."""
        complete = [("pick.complete", "complete the path")] if self.paths else []
        return [("enter", "choose"), ("pick.close", "close"), *complete]

    def on_mount(self) -> None:
        """All entries, the present choice first."""
        self.query_one(Input).cursor_blink = False
        self._show("")
        lines = self.query_one(Lines)
        if any(value == self.first for value, _, _ in self.entries):
            lines.choose(self.first)

    def on_input_changed(self, event: Input.Changed) -> None:
        """Typing narrows the list."""
        self._show(event.value)

    def _show(self, text: str) -> None:
        looks_like_path = self.paths is not None and text.startswith(("/", "~", "."))
        found = self._files(text) if looks_like_path else [entry for entry in self.entries if _matches(text, f"{entry[1]} {entry[2]}")]
        width = max((cell_len(label) for _, label, _ in found), default=0)
        width = min(width, 44)
        lines = [
            (
                value,
                Content.assemble((self.mark_of(value), "bold $accent"), (padded(label, width), "$foreground"), "  ", (note, "$muted")),
                True,
            )
            for value, label, note in found
        ]
        self.query_one(Lines).show(lines or [("", Content.styled("nothing matches", "$muted"), False)])

    def mark_of(self, value: str) -> str:
        """What stands before a line."""
        return ""

    def _files(self, text: str) -> list[tuple[str, str, str]]:
        path = Path(text).expanduser()
        folder, start = (path, "") if text.endswith("/") or text in (".", "~") else (path.parent, path.name)
        found = []
        try:
            for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
                if not entry.name.startswith(start) or (entry.name.startswith(".") and not start.startswith(".")):
                    continue
                target = Path(entry.path)
                if entry.is_dir():
                    usable = self.paths is not None and self.paths(target)
                    found.append((str(target) if usable else f"{target}/", entry.name + "/", "" if usable else "folder"))
                elif self.paths is not None and self.paths(target):
                    found.append((str(target), entry.name, ""))
        except OSError as problem:
            return [("", str(folder), problem.strerror or "cannot be read")]
        return found[:200]

    def on_input_submitted(self) -> None:
        """Enter takes the line under the cursor."""
        self._take(self.query_one(Lines).chosen)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Click, or enter in the list."""
        self._take(event.option_id or "")

    def on_option_list_option_highlighted(self, event: OptionList.OptionHighlighted) -> None:
        """The cursor moved."""
        if self.reasons:
            self.query_one("#pick-reason", Static).update(Content(self.reasons.get(event.option_id or "", "")))

    def _take(self, value: str) -> None:
        if value.endswith("/"):
            self._type(value)
        elif value:
            self.dismiss(value)

    def _type(self, text: str) -> None:
        entry = self.query_one(Input)
        entry.value = text
        entry.cursor_position = len(text)
        entry.focus()

    def why_not(self, name: str) -> str:
        """Here enter takes the one line."""
        return "enter takes the line under the cursor" if name == "accept" else ""

    def do_accept(self) -> None:
        """Only where several can be marked."""

    def do_close(self) -> None:
        self.dismiss(None)

    def do_down(self) -> None:
        self.query_one(Lines).action_cursor_down()

    def do_up(self) -> None:
        self.query_one(Lines).action_cursor_up()

    def do_complete(self) -> None:
        """Tab: the path under the cursor into the line."""
        chosen = self.query_one(Lines).chosen
        if chosen and self.paths is not None:
            self._type(chosen)


class MarkDialog(PickDialog):
    """A list of which any number can be marked; dismissed with the values of those, in the order of the list.

    Args:
        marked: values of the lines that are marked at first.
        fewest: that can be taken.
    """

    def __init__(self, title: str, entries: Sequence[tuple[str, str, str]], *, marked: Sequence[str] = (), fewest: int = 0) -> None:
        super().__init__(title, entries, chosen=marked[0] if marked else "")
        self.marked, self.fewest = set(marked), fewest

    def hints(self) -> list[tuple[str, str]]:
        return [("enter", "mark"), ("pick.accept", "take those marked"), ("pick.close", "leave it as it was")]

    def mark_of(self, value: str) -> str:
        glyphs = self.app.glyphs  # type: ignore[attr-defined]
        return f"{glyphs.marked} " if value in self.marked else "  "

    def why_not(self, name: str) -> str:
        """A choice may need some."""
        return f"mark at least {self.fewest}" if name == "accept" and len(self.marked) < self.fewest else ""

    def do_accept(self) -> None:
        self.dismiss([value for value, _, _ in self.entries if value in self.marked])

    def _take(self, value: str) -> None:
        if value:
            self.marked ^= {value}
            self._show(self.query_one(Input).value)


def _matches(words: str, text: str) -> bool:
    return all(word in text.lower() for word in words.lower().split())
