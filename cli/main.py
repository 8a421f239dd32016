"""Entry point of ``finetui``: a lazy table of commands, and the one place where errors become exit codes."""

from __future__ import annotations

import importlib
import os
import sys
from typing import Any

import click

from .. import __version__
from ..core.errors import FineTUIError, Interrupted, UsageError, WorkFailed, closest
from .command import App, app_of, global_options
from .output import report

COMMANDS: dict[str, tuple[str, str]] = {
    "demo": ("demo:demo", "Train, swap, merge and publish with the embedded model, offline."),
    "doctor": ("doctor:doctor", "What works on this machine, what does not, and why."),
    "models": ("models:models", "Base models on this machine."),
    "adapters": ("adapters:adapters", "Trained, imported and pulled adapters."),
    "data": ("data:data", "Check and preview training data."),
    "methods": ("methods:methods", "Fine-tuning methods and their options."),
    "plan": ("plan:plan", "Peak memory by part, before anything starts."),
    "train": ("train:train", "Fine-tune a model."),
    "compare": ("compare:compare", "Train several methods alike and put them into one table."),
    "runs": ("runs:runs", "List, watch, stop and resume runs."),
    "queue": ("queue:queue", "Runs that wait for a device."),
    "eval": ("evaluate:evaluate", "Loss and perplexity of a base and its adapters."),
    "chat": ("chat:chat", "Talk to a model and swap adapters while talking."),
    "generate": ("chat:generate", "Answer one prompt."),
    "merge": ("merge:merge", "Merge an adapter into its base."),
    "export": ("export:export", "Write an adapter or a model in another form."),
    "push": ("hub:push", "Publish an adapter to a hub."),
    "pull": ("hub:pull", "Fetch an adapter from a hub."),
    "search": ("hub:search", "Find adapters on a hub."),
    "card": ("hub:card", "Read the model card of an adapter on a hub."),
    "plugins": ("plugins:plugins", "What is installed, and what is broken and why."),
    "completion": ("completion:completion", "Shell completion for bash, zsh and fish."),
}
"""Name → (``module:attribute`` below this package, one line of help). Help is printed without importing any of them."""


class LazyGroup(click.Group):
    """The root group: imports a command's module when that command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, attribute = COMMANDS[cmd_name][0].split(":")
        return getattr(importlib.import_module(f".{module}", __package__), attribute)

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and args[0] not in COMMANDS and not args[0].startswith("-"):
            raise UsageError(f"unknown command '{args[0]}'", closest(args[0], COMMANDS, "command"))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, invoke_without_command=True, context_settings={"help_option_names": ["-h", "--help"], "obj": None})
@click.version_option(__version__, prog_name="finetui", message="%(prog)s %(version)s")
@global_options
@click.option("--ascii", is_flag=True, help="Without a command: draw the screen with ASCII characters only.")
@click.pass_context
def root(context: click.Context, ascii: bool) -> None:
    """Fine-tune, compare, swap, merge and publish language-model adapters from a terminal.

    Without a command, finetui opens the screen.
    """
    if context.invoked_subcommand is None:
        context.exit(_open_screen(app_of(context), ascii))
    if ascii:
        raise UsageError("--ascii is for the screen, which opens without a command", f"finetui {context.invoked_subcommand} --help")


def _open_screen(app: App, ascii: bool) -> int:
    if app.json:
        raise UsageError("--json needs a command", "finetui --help lists the commands")
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError("the screen needs a terminal", "finetui --help lists the commands, which need none")
    if os.environ.get("TERM", "dumb") == "dumb":
        raise UsageError("TERM=dumb cannot show the screen", "set TERM (for example xterm-256color), or use the commands: finetui --help")
    from ..tui.app import run_app

    return run_app(app.home, app.settings, ascii=ascii)


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit code; never raises for what a user did."""
    arguments = sys.argv[1:] if arguments is None else arguments
    as_json = "--json" in arguments
    try:
        _require_text(arguments)
        code = root.main(args=arguments, prog_name="finetui", standalone_mode=False)
        return code if isinstance(code, int) else 0
    except FineTUIError as error:
        return report(error, as_json=as_json)
    except click.UsageError as error:
        return report(_usage(error), as_json=as_json)
    except click.ClickException as error:
        return report(UsageError(error.format_message()), as_json=as_json)
    except (click.Abort, KeyboardInterrupt):
        return report(Interrupted("interrupted"), as_json=as_json)
    except BrokenPipeError:
        # The reader of a pipe went away (`finetui runs list | head`): not an error. Keep the interpreter from
        # complaining when it flushes stdout at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return report(WorkFailed(f"{error.filename or 'operating system'}: {error.strerror or error}"), as_json=as_json)
    except Exception as error:
        if os.environ.get("FINETUI_DEBUG") == "1":
            raise
        bug = WorkFailed(f"a bug in FineTUI: {type(error).__name__}: {error}", "FINETUI_DEBUG=1 shows the traceback; please report it")
        return report(bug, as_json=as_json)


def _require_text(arguments: list[str]) -> None:
    for word in arguments:
        try:
            word.encode()
        except UnicodeEncodeError:
            raise UsageError(f"an argument is not valid UTF-8: {word!r}", "check the terminal's encoding (locale)") from None


def _usage(error: click.UsageError) -> UsageError:
    """Click's usage error in our words, with the closest option or command as the hint."""
    see = f"see {error.ctx.command_path} --help" if error.ctx else ""
    if isinstance(error, click.NoSuchOption):
        known = [name for parameter in error.ctx.command.get_params(error.ctx) for name in parameter.opts] if error.ctx else []
        return UsageError(f"unknown option '{error.option_name}'", closest(error.option_name, known, "option") or see)
    return UsageError(error.format_message().rstrip("."), see)
