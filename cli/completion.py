"""``finetui completion``: print the completion script of a shell."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from .command import App, command


@command("completion")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
def completion(app: App, shell: str) -> None:
    """Print a completion script; put ``eval "$(finetui completion bash)"`` into your shell's startup file."""
    from .main import root

    kind = get_completion_class(shell)
    assert kind is not None
    click.echo(kind(root, {}, "finetui", "_FINETUI_COMPLETE").source())
