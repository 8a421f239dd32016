"""Which keys do what: those that `actions` declares, and over them those of the configuration's table ``[keys]``.

::

    [keys]
    "home.stop" = "x"
    "app.help" = ["F1", "ctrl+g"]       # several keys: a list, or a string with commas

A line that cannot be followed (an action or a key that does not exist, a key that would mean two things in one place) is left out and
told: `Keymap.problems`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from textual.keys import REPLACED_KEYS, Keys, _character_to_key, key_to_character

from ..core.errors import closest
from .actions import ACTIONS, DIALOGS, PANES, WIDGETS, Action, by_id

_NAMES = {
    "question_mark": "?", "colon": ":", "slash": "/", "escape": "esc", "right_square_bracket": "]", "left_square_bracket": "[",
    "delete": "del", "pagedown": "PgDn", "pageup": "PgUp", "left": "←", "right": "→", "up": "↑", "down": "↓",
}  # fmt: skip
_ASCII = {"←": "left", "→": "right", "↑": "up", "↓": "down"}
_SPELT = {label.lower(): name for name, label in _NAMES.items()}
"""What the help shows may be written in the configuration too."""
_FUNCTION_KEY = re.compile(r"f\d+")
_MODIFIERS = {"ctrl", "alt", "shift", "super", "meta", "hyper"}
_SPECIAL = {key.value for key in Keys if "+" not in key.value and "<" not in key.value}


class Keymap:
    """The keys of every action.

    Attributes:
        changed: action id to its keys, where the configuration says so.
        problems: what of the configuration could not be followed, a sentence each.
        ascii: keys are named without arrows.
    """

    def __init__(self, table: Mapping[str, Any] | None = None, *, ascii: bool = False) -> None:
        self.ascii = ascii
        self.problems: list[str] = []
        self.changed: dict[str, tuple[str, ...]] = {}
        for identifier, value in _spread(table or {}).items():
            self._take(identifier, value)
        while clashing := self._clashes():
            for identifier in clashing:
                self.changed.pop(identifier, None)

    def keys(self, action: Action) -> tuple[str, ...]:
        """Textual's names of an action's keys, the one for the footer first."""
        return self.changed.get(action.id) or tuple(filter(None, action.keys.split(",")))

    def label(self, key: str) -> str:
        """A key as people write it: ``question_mark`` → ``?``."""
        label = (
            _NAMES.get(key)
            or (typed_by(key) if key not in ("space", "tab") else "")
            or (key.upper() if _FUNCTION_KEY.fullmatch(key) else key)
        )
        return _ASCII.get(label, label) if self.ascii else label

    def labels(self, action: Action) -> str:
        """All keys of an action; those without a binding are done by enter on a line of a list."""
        return " ".join(map(self.label, self.keys(action))) or "enter"

    def line(self, *parts: tuple[str, str]) -> str:
        """The last line of a dialog: ``esc close  y copy`` from ``(action id or label of a key, what it does)``."""
        return "  ".join(f"{self.label(self.keys(by_id(key))[0]) if '.' in key else key} {what}" for key, what in parts)

    def for_textual(self) -> dict[str, str]:
        """What `App.set_keymap` takes."""
        return {identifier: ",".join(keys) for identifier, keys in self.changed.items()}

    def _take(self, identifier: str, value: Any) -> None:
        """One line of the table."""
        known = {action.id: action for action in ACTIONS}
        if identifier not in known:
            self.problems.append(f"there is no action '{identifier}'; {closest(identifier, known)}".rstrip("; "))
        elif not known[identifier].keys:
            self.problems.append(f"'{identifier}' has no key of its own: it is enter on a line of a list")
        elif identifier in FIXED:
            self.problems.append(f"'{identifier}' keeps its key, so that there is always a way out")
        else:
            names = value.split(",") if isinstance(value, str) else value
            keys = [key_named(name) for name in names] if isinstance(names, list) and all(isinstance(name, str) for name in names) else []
            wrong = [name for name, key in zip(names, keys) if not key] if keys else []
            if not keys or wrong:
                what = f"no key is called '{wrong[0].strip()}'" if wrong else "a key or a list of keys is expected"
                self.problems.append(f'\'{identifier}\': {what}; for example "x", "ctrl+x", "F5" or ["x", "F5"]')
            else:
                self.changed[identifier] = tuple(dict.fromkeys(keys))

    def _clashes(self) -> list[str]:
        """Changed actions that have a key in common with another in the same place, told once each."""
        found: list[str] = []
        for identifier in self.changed:
            action = by_id(identifier)
            for other in ACTIONS:
                shared = set(self.keys(action)) & set(self.keys(other)) if other is not action and _meet(action, other) else set()
                if shared and identifier not in found:
                    key = self.label(min(shared))
                    self.problems.append(f"'{identifier}': {key} is the key of '{other.id}' ({other.title}) in the same place")
                    found.append(identifier)
        return found


FIXED = ("app.leave",)
"""Not to be remapped."""


def _meet(one: Action, other: Action) -> bool:
    """Whether the same key press could mean both: in one scope, in a list or form inside a screen or dialog, or anywhere for the app."""
    scopes = {one.scope, other.scope}
    if len(scopes) == 1:
        return True
    for pane in scopes & set(PANES):
        return bool(scopes & {"app", *PANES[pane]})
    if scopes & set(DIALOGS):
        return bool(scopes & set(WIDGETS))
    return "app" in scopes or len(scopes & set(WIDGETS)) == 1


def key_named(name: str) -> str:
    """Textual's name of a key that a person wrote; empty where there is none."""
    *modifiers, last = name.strip().split("+") if name.strip() != "+" else ["+"]
    if not set(modifiers) <= _MODIFIERS:
        return ""
    known = _SPELT.get(last.lower()) or (last.lower() if last.lower() in _SPECIAL else "")
    last = known or (_character_to_key(last) if len(last) == 1 else last)
    return "+".join([*modifiers, last]) if known or typed_by(last) else ""


def typed_by(key: str) -> str:
    """The character that a key types; empty for those that type none."""
    character = key_to_character(REPLACED_KEYS.get(key, key)) or ""
    return character if character.isprintable() else ""


def _spread(table: Mapping[str, Any]) -> dict[str, Any]:
    """TOML reads ``home.stop = "x"`` without quotes as a table in a table."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        flat |= {f"{key}.{name}": item for name, item in value.items()} if isinstance(value, Mapping) else {key: value}
    return flat
