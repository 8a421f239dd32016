"""What every command shares: ``--json`` and ``--home`` anywhere, ``-c FILE.toml``, and the `App` they fill."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..core.config import Settings, load_settings, read_toml
from ..core.errors import UsageError, closest
from ..core.options import flattened
from ..core.paths import Home, find_home
from ..core.tomltext import read_value, write_value

if TYPE_CHECKING:
    from ..core.catalog.catalog import Catalog
    from ..core.runs.store import RunStore


class App:
    """What a command works with; each part is made when first asked for."""

    def __init__(self) -> None:
        self.json = False
        self.home_option: str | None = None

    @cached_property
    def settings(self) -> Settings:
        """The user's configuration."""
        return load_settings()

    def shares(self, share_gpu: bool | None) -> bool:
        """Whether a GPU is to be shared: what ``--share-gpu`` says, else the configuration."""
        return self.settings.share_gpu if share_gpu is None else share_gpu

    @property
    def home_as_named(self) -> Home:
        """The home directory, whether it is there or not."""
        configured = "" if os.environ.get("FINETUI_HOME") else self.settings.home
        return find_home(self.home_option or configured)

    @cached_property
    def home(self) -> Home:
        """The home directory, created."""
        return self.home_as_named.create()

    @cached_property
    def catalog(self) -> Catalog:
        """Models and adapters on disk."""
        from ..core.catalog.catalog import Catalog

        return Catalog(self.home)

    @cached_property
    def runs(self) -> RunStore:
        """All runs, those that died meanwhile already judged."""
        from ..core.runs.adopt import refresh_all
        from ..core.runs.store import RunStore

        store = RunStore(self.home)
        refresh_all(store)
        return store


def app_of(context: click.Context) -> App:
    """The one `App` of this invocation."""
    return context.find_root().ensure_object(App)


def _set_json(context: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        app_of(context).json = True


def _set_home(context: click.Context, _: click.Parameter, value: str | None) -> None:
    if value:
        app_of(context).home_option = value


def _read_config(context: click.Context, _: click.Parameter, value: str | None) -> None:
    """Use a TOML file as defaults of this command's options; flags override it."""
    if not value:
        return
    names = {opt.lstrip("-").replace("-", "_"): parameter for parameter in context.command.get_params(context) for opt in parameter.opts}
    defaults: dict[str, Any] = {}
    for key, item in flattened(read_toml(Path(value)), names).items():
        parameter = names.get(key.replace("-", "_"))
        if parameter is None or parameter.name is None:
            raise UsageError(f"{value}: unknown option '{key}'", closest(key, names, "option"))
        if parameter.name == "settings":
            context.meta[_FILE_SETTINGS] = item
        else:
            defaults[parameter.name] = _as_flag(item, parameter.multiple if isinstance(parameter, click.Option) else False)
    context.default_map = {**(context.default_map or {}), **defaults}


_FILE_SETTINGS = "finetui.settings"


def settings_of(pairs: tuple[str, ...]) -> dict[str, Any]:
    """What ``--set`` says, key by key over the ``[set]`` table of the ``-c`` file.

    Raises:
        UsageError: ``set`` in the file is not a table, or a pair has no ``=``.
    """
    table = click.get_current_context().meta.get(_FILE_SETTINGS, {})
    if not isinstance(table, dict):
        raise UsageError(f"set = {table!r} in the configuration file is not a table", "write [set] and one option a line below it")
    return {**table, **key_values(pairs)}


def _as_flag(item: Any, multiple: bool) -> Any:
    """A TOML value as the flag would have it: a table becomes ``key=value`` pairs joined by commas."""
    if isinstance(item, dict):
        return ",".join(f"{key}={write_value(part)}" for key, part in item.items())
    return [item] if multiple and not isinstance(item, list) else item


def global_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add ``--json`` and ``--home`` to a command or group."""
    function = click.option(
        "--json", is_flag=True, expose_value=False, is_eager=True, callback=_set_json, help="Machine-readable output on stdout."
    )(function)
    return click.option(
        "--home", metavar="DIR", expose_value=False, is_eager=True, callback=_set_home, help="Where runs and adapters are kept."
    )(function)


def common_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Add what every command takes: the global options and ``-c FILE``."""
    return click.option(
        "-c", "--config", metavar="FILE", expose_value=False, is_eager=True, callback=_read_config, help="TOML file that supplies options."
    )(global_options(function))


share_gpu_option = click.option(
    "--share-gpu/--no-share-gpu", default=None, help="Use a GPU beside others that share it too, as far as the planned memory allows."
)


def command(*arguments: Any, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """`click.command` with the common options; the function's first argument is the `App`."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        return click.command(*arguments, **attributes)(common_options(_with_app(function)))

    return decorate


def group() -> Callable[[Callable[..., Any]], click.Group]:
    """`click.group` with the global options, which may stand before the subcommand."""

    def decorate(function: Callable[..., Any]) -> click.Group:
        return click.group()(global_options(function))

    return decorate


def subcommand(group: click.Group, *arguments: Any, **attributes: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """A `command` inside ``group``."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        made = command(*arguments, **attributes)(function)
        group.add_command(made)
        return made

    return decorate


def _with_app(function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*arguments: Any, **keywords: Any) -> Any:
        return function(app_of(click.get_current_context()), *arguments, **keywords)

    call.__name__ = function.__name__
    call.__doc__ = function.__doc__
    call.__click_params__ = getattr(function, "__click_params__", [])  # type: ignore[attr-defined]
    return call


def key_values(pairs: tuple[str, ...] | list[str], flag: str = "--set") -> dict[str, Any]:
    """``("r=8", "lora_alpha=16")`` as a dict.

    Raises:
        UsageError: a pair without ``=``.
    """
    values = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            example = "prompt=question,response=answer" if flag == "--columns" else "learning_rate=2e-4"
            raise UsageError(f"{flag} {pair}: expected key=value", f"for example {flag} {example}")
        values[key.strip()] = read_value(text.strip())
    return values
