"""The same as a command and as a file, to copy into a shell or a script."""

from __future__ import annotations

from textual.app import ComposeResult
from textual.containers import Vertical
from textual.content import Content
from textual.widgets import Static

from ..actions import bindings
from ..widgets.reading import Reading
from .messages import Dialog

KEYS = (("words.copy", "copy command"), ("words.copy_file", "copy file"), ("dialog.close", "close"))


class WordsDialog(Dialog):
    """A command, and the TOML file with which ``-c`` does the same."""

    BINDINGS = bindings("words")

    def __init__(self, command: str, file_command: str, toml: str) -> None:
        """
        Args:
            file_command: the command that takes the file.
        """
        super().__init__()
        self.command, self.file_command, self.toml = command, file_command, toml

    def compose(self) -> ComposeResult:
        """Both texts, the keys."""
        with Vertical(classes="box -tall") as box:
            box.border_title = "The same in words"
            with Reading(classes="scroll"):
                yield Static(Content(self.command), classes="text")
                yield Static(Content(f"or {self.file_command}, with this file:"), classes="hint")
                yield Static(Content("\n" + self.toml), classes="text")
            yield Static(Content(self.keys_line(*KEYS)), classes="keys")

    def on_mount(self) -> None:
        """The keys of lists scroll."""
        self.query_one(Reading).focus()

    def text_to_copy(self) -> str:
        return self.command

    def do_copy_file(self) -> None:
        self.app.copy_to_clipboard(self.toml)
        self.app.notify(f"copied the file for {self.file_command}")
