"""Plugins, found through entry points; built-in ones and third parties' register the same way.

Three grains: `names` imports nothing, `load` imports one plugin, `load_all` imports all of a group. A plugin that does
not import is reported with its error (`describe_all`, ``finetui plugins list``) and stops nothing else.

An entry point called ``prefix:*`` is a family (`core.api.Family`): a plugin that makes others, ``prefix:member``, which nobody wrote
one by one. `members` lists them, `load` makes one; `names` and `load_all` leave them out, as they may be many.
"""

from __future__ import annotations

import traceback
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from typing import Any

from .errors import FineTUIError, NotFound, WorkFailed, closest

GROUPS: dict[str, str] = {
    "methods": "finetui.methods",
    "objectives": "finetui.objectives",
    "formats": "finetui.formats",
    "hubs": "finetui.hubs",
    "exporters": "finetui.exporters",
}
"""Kind of plugin → entry-point group. Each group has its contract in `core.api`."""

_FAMILY = ":*"


class BrokenPlugin(WorkFailed):
    """A plugin is installed but does not import or does not keep its contract."""

    kind = "broken_plugin"


@dataclass(frozen=True, slots=True)
class PluginInfo:
    """One installed plugin, working or not.

    Attributes:
        kind: key of `GROUPS`.
        target: ``module:attribute`` of the entry point.
        package: distribution that installed it, with its version.
        error: why it does not load; empty when it works.
    """

    kind: str
    name: str
    target: str
    package: str
    error: str = ""


@cache
def _points(kind: str) -> dict[str, EntryPoint]:
    """Entry points by name; of two with one name the built-in wins, so that no package can replace it silently."""
    found: dict[str, EntryPoint] = {}
    for point in entry_points(group=GROUPS[kind]):
        if point.name not in found or _package(point).startswith("finetui "):
            found[point.name] = point
    return dict(sorted(found.items()))


def _package(point: EntryPoint) -> str:
    return f"{point.dist.name} {point.dist.version}" if point.dist else "unknown"


def names(kind: str) -> list[str]:
    """Names of the installed plugins of a kind, sorted; imports none of them."""
    return [name for name in _points(kind) if not name.endswith(_FAMILY)]


def members(kind: str) -> list[str]:
    """Full names of what the families of a kind make (``peft:vera``), sorted; imports the families, those that work."""
    found: list[str] = []
    for name in _points(kind):
        if name.endswith(_FAMILY):
            try:
                found += [name.removesuffix("*") + member for member in load(kind, name).members()]
            except FineTUIError:
                continue
    return sorted(found)


def knows(kind: str, name: str) -> bool:
    """Whether ``name`` is installed, as a plugin or as a member of a family."""
    return name in names(kind) or name in members(kind)


def origins(kind: str) -> list[str]:
    """Where every plugin of a kind comes from, ``name=module:attribute package version``, sorted by name; imports none of them."""
    return [f"{name}={point.value} {_package(point)}" for name, point in _points(kind).items()]


@cache
def load(kind: str, name: str) -> Any:
    """The plugin ``name``, or a family's member, imported and instantiated; one instance a process.

    Raises:
        NotFound: no such plugin; the closest names are suggested.
        BrokenPlugin: it is installed but does not load.
        FineTUIError: a family refuses to make this member.
    """
    points = _points(kind)
    prefix, colon, member = name.partition(":")
    if name not in points and colon and prefix + _FAMILY in points:
        return _checked(load(kind, prefix + _FAMILY).make(member), kind, name, points[prefix + _FAMILY])
    if name not in points:
        raise NotFound(f"unknown {kind.removesuffix('s')} '{name}'", closest(name, names(kind), kind.removesuffix("s")))
    point = points[name]
    try:
        plugin = point.load()()
    except FineTUIError:
        raise
    except Exception as problem:
        line = traceback.format_exception_only(problem)[-1].strip()
        raise BrokenPlugin(
            f"plugin '{name}' of {_package(point)} does not load: {line}", f"update or uninstall {_package(point)}"
        ) from problem
    return _checked(plugin, kind, name, point)


def _checked(plugin: Any, kind: str, name: str, point: EntryPoint) -> Any:
    from . import api

    contract = api.Family if name.endswith(_FAMILY) else api.CONTRACTS[kind]
    if not isinstance(plugin, contract):
        raise BrokenPlugin(f"plugin '{name}' of {_package(point)} is not a {contract.__name__}", "subclass it from finetui.core.api")
    return plugin


def load_all(kind: str) -> dict[str, Any]:
    """Every plugin of a kind that works, by name; broken ones are left out (`describe_all` lists them)."""
    working = {}
    for name in names(kind):
        try:
            working[name] = load(kind, name)
        except FineTUIError:
            continue
    return working


def describe_all() -> list[PluginInfo]:
    """Every installed plugin of every kind, with its error where it does not load."""
    rows = []
    for kind in GROUPS:
        for name, point in _points(kind).items():
            error = ""
            try:
                load(kind, name)
            except FineTUIError as problem:
                error = problem.message
            rows.append(PluginInfo(kind, name, point.value, _package(point), error))
    return rows
