"""The command palette: every action by name, with its keys, and why it cannot be done just now where it cannot."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from textual.app import SystemCommand
from textual.dom import DOMNode
from textual.screen import Screen

from .actions import ACTIONS, PANES, SCOPE_TITLES, Action, by_id

if TYPE_CHECKING:
    from .app import FineTuiApp


def scopes_in_focus(app: FineTuiApp, screen: Screen[Any]) -> list[str]:
    """Scopes from the focused widget outwards, the app's last."""
    scopes: list[str] = []
    for node in _chain(app, screen):
        for binding in getattr(node, "BINDINGS", []):
            scope = (getattr(binding, "id", None) or "").split(".")[0]
            if scope in SCOPE_TITLES and scope not in scopes:
                scopes.append(scope)
    return scopes


def commands(app: FineTuiApp, screen: Screen[Any]) -> Iterator[SystemCommand]:
    """Every action: first what can be done here, then what belongs to another place or cannot be done now."""
    here = scopes_in_focus(app, screen)
    reasons = {action.id: why_not(app, screen, action) for action in ACTIONS}
    for action in sorted(ACTIONS, key=lambda action: (bool(reasons[action.id]), action.scope not in here)):
        title = action.title if action.scope == "app" else f"{SCOPE_TITLES[action.scope]}: {action.title}"
        reason = f"Not now: {reasons[action.id]}. " if reasons[action.id] else ""
        keys = app.keymap.labels(action)
        yield SystemCommand(
            title, f"{reason}{action.tooltip} ({keys})", lambda identifier=action.id: app.call_later(perform, app, identifier)
        )


def why_not(app: FineTuiApp, screen: Screen[Any], action: Action) -> str:
    """Why an action cannot be done from here; empty when it can, be it by opening its view first."""
    owner = _owner(app, screen, action)
    if owner is not None:
        return owner.why_not(action.name)
    return "" if action.scope in app.MODES or action.scope == "new" else f"{SCOPE_TITLES[action.scope]} is not open or not in focus"


async def perform(app: FineTuiApp, identifier: str) -> None:
    """Do an action by id, wherever its owner is; views are opened for theirs."""
    action = by_id(identifier)
    if action.scope in app.MODES and getattr(app.screen, "SCOPE", "") != action.scope:
        await app.show_view(action.scope)
    if action.scope == "new" and getattr(app.screen, "SCOPE", "") != "new":
        app.new_run()
        return
    owner = _owner(app, app.screen, action)
    if owner is None:
        app.notify(why_not(app, app.screen, action), severity="warning")
        return
    result = owner.action_act(identifier)
    if result is not None:
        await result


def _chain(app: FineTuiApp, screen: Screen[Any]) -> list[DOMNode]:
    """From the focused widget outwards, the app last."""
    focused = screen.focused.ancestors_with_self if screen.focused is not None else [screen]
    return [*(node for node in focused if node is not app), app]


def _owner(app: FineTuiApp, screen: Screen[Any], action: Action) -> Any:
    """Who does an action here, be it a pane of the screen that is not in focus; ``None`` where nobody does."""
    for node in _chain(app, screen):
        bound = any(getattr(binding, "id", "") == action.id for binding in getattr(node, "BINDINGS", []))
        if bound or getattr(node, "SCOPE", "") == action.scope:
            return node
    if action.scope in PANES:
        return next((node for node in screen.query("*") if getattr(node, "SCOPE", "") == action.scope and node.display), None)
    return None
