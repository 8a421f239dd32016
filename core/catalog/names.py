"""Names of artifacts: one namespace for models, adapters and what active runs will publish."""

from __future__ import annotations

import re
from pathlib import Path

from ..embedded import BASE_MODEL_NAME
from ..errors import NameTaken
from ..paths import Home, check_name
from ..runs.adopt import refresh
from ..runs.spec import ACTIVE
from ..runs.store import RunStore


def name_in_use(home: Home, name: str) -> str:
    """Who has ``name``, in words: an artifact of the home, the embedded base, or a run that will publish it; else empty."""
    if name == BASE_MODEL_NAME:
        return "the embedded base model"
    for folder in (home.models / name, home.adapters / name):
        if folder.exists() or folder.is_symlink():
            return str(folder)
    for run in RunStore(home).list("train"):
        if run.spec.request.get("name") == name and run.state().state in ACTIVE and refresh(run).state in ACTIVE:
            return f"run {run.id}, which is under way"
    return ""


def require_free(home: Home, name: str) -> str:
    """Return ``name`` if it can be a new artifact's.

    Raises:
        UsageError: it cannot be a name. NameTaken: it is in use.
    """
    check_name(name)
    user = name_in_use(home, name)
    if user:
        raise NameTaken(f"the name '{name}' is taken by {user}", "choose another with --name, or remove the old one first")
    return name


def free_name(home: Home, wanted: str) -> str:
    """``wanted``, or ``wanted-2``, ``wanted-3``, … where it is in use."""
    number, name = 1, wanted
    while name_in_use(home, name):
        number += 1
        name = f"{wanted}-{number}"
    return name


def name_from(folder: Path) -> str:
    """A catalog name made of a folder's."""
    return re.sub(r"[^A-Za-z0-9._-]+", "-", folder.name).strip(".-_")[:96] or "unnamed"
