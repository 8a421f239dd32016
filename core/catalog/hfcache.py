"""The Hugging Face cache, read-only: which snapshots of which repositories are here. Standard library only.

Layout: ``models--org--name/refs/<branch>`` holds a commit, ``snapshots/<commit>/`` links into ``blobs/``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "models--"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One cached revision of a model repository.

    Attributes:
        repo: Hub id.
        revision: commit.
        newest: whether this is what ``main`` was when it was last fetched (or the only one there is).
    """

    repo: str
    revision: str
    folder: Path
    newest: bool


def cache_dir() -> Path:
    """The cache that ``huggingface_hub`` would use: ``HF_HUB_CACHE``, ``HF_HOME/hub``, or below the user's cache."""
    explicit = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    if explicit:
        return Path(explicit).expanduser()
    home = os.environ.get("HF_HOME") or Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "huggingface"
    return Path(home).expanduser() / "hub"


def snapshots() -> list[Snapshot]:
    """Every cached revision of every model repository; an unreadable or absent cache is an empty one."""
    try:
        repositories = sorted(path for path in cache_dir().iterdir() if path.name.startswith(_PREFIX))
    except OSError:
        return []
    return [snapshot for path in repositories for snapshot in _of_repository(path)]


def _of_repository(path: Path) -> list[Snapshot]:
    repo = path.name.removeprefix(_PREFIX).replace("--", "/")
    try:
        folders = sorted((f for f in (path / "snapshots").iterdir() if f.is_dir()), key=lambda f: f.stat().st_mtime)
    except OSError:
        return []
    if not folders:
        return []
    main = _main(path) or folders[-1].name
    if main not in {folder.name for folder in folders}:
        main = folders[-1].name
    return [Snapshot(repo, folder.name, folder, folder.name == main) for folder in reversed(folders)]


def _main(path: Path) -> str:
    try:
        return (path / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""
