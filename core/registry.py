"""Plugins, found through entry points; built-in ones and third parties' register the same way.

Three grains: `names` imports nothing, `load` imports one plugin, `load_all` imports all of a group. A plugin that does
not import is reported with its error (`describe_all`, ``finetui plugins list``) and stops nothing else.
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
}
"""Kind of plugin → entry-point group. Each group has its contract in `core.api`."""


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
    return list(_points(kind))


@cache
def load(kind: str, name: str) -> Any:
    """The plugin ``name``, imported and instantiated; one instance a process.

    Raises:
        NotFound: no such plugin; the closest names are suggested.
        BrokenPlugin: it is installed but does not load.
    """
    points = _points(kind)
    if name not in points:
        raise NotFound(f"unknown {kind.removesuffix('s')} '{name}'", closest(name, points, kind.removesuffix("s")))
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
    from . import api

    contract = api.CONTRACTS[kind]
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
