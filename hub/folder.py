"""A shared directory as a hub: on one machine, on a network file system, or on a stick.

    ROOT/owner/name/refs/main                  the newest revision, replaced atomically
    ROOT/owner/name/snapshots/<revision>/      the files, and .files.json with their sizes and sha256

A revision is the sha256 over the files' own: the same content is the same revision.
"""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import ClassVar

import msgspec

from ..core.api import AdapterHub, CorruptFile, Found, HubContext, HubFile, NameTaken, NotFound, PushPlan, Refused, Transfer, UsageError
from ..core.catalog.digest import sha256_file
from ..core.catalog.editing import is_safe_file
from ..core.catalog.manifest import Manifest, read_manifest
from ..core.catalog.peftfiles import read_adapter
from ..core.errors import closest
from ..core.fsio import disk_errors, read_json, staged_folder, write_bytes, write_json
from ..core.paths import check_name
from .transfer import CARD_FILE

LISTING = ".files.json"
_DEFAULT_OWNER = "local"
_MIN_PREFIX = 6


class Listing(msgspec.Struct):
    """``.files.json``: what a snapshot holds."""

    files: list[HubFile]


class FolderHub(AdapterHub):
    """Publishes to a directory that others can read; who may read it is up to the file system."""

    name: ClassVar[str] = "folder"
    title: ClassVar[str] = "Shared folder"
    summary: ClassVar[str] = "A directory on this machine or a network file system."

    def push(
        self, plan: PushPlan, folder: Path, context: HubContext, *, revision: str = "", pull_request: bool = False, message: str = ""
    ) -> Transfer:
        """See `AdapterHub.push`; ``revision`` names the ref that then points to the new snapshot."""
        if pull_request:
            raise Refused("a folder hub has no pull requests", "push to a branch of its own: --revision NAME")
        ref = check_name(revision or "main")
        repo = _full_name(plan.repo)
        place = self.root(context) / repo
        files = [HubFile(file.path, file.size, sha256_file(folder / file.path)) for file in plan.files]
        snapshot = place / "snapshots" / _revision(files)
        sent = 0
        if not snapshot.exists():
            with contextlib.suppress(NameTaken):  # another process has just published the same content
                sent = _copy_all(folder, files, snapshot, context)
        with disk_errors(place):
            (place / "refs").mkdir(parents=True, exist_ok=True)
        write_bytes(place / "refs" / ref, snapshot.name.encode() + b"\n")
        return Transfer(repo, snapshot.name, tuple(file.path for file in files), sent, snapshot.as_uri())

    def pull(self, repo: str, revision: str, target: Path, context: HubContext) -> Transfer:
        """See `AdapterHub.pull`; ``revision`` is a ref, or the beginning of a snapshot's name."""
        repo = _full_name(repo)
        snapshot = self._find(repo, revision or "main", self.root(context))
        files = _listed(snapshot)
        total, done = sum(file.size for file in files), 0
        for file in files:
            source = snapshot / file.path
            with disk_errors(source):
                if not source.is_file():
                    raise CorruptFile(f"{source} is missing", "push the adapter again")
                shutil.copyfile(source, target / file.path)
            if sha256_file(target / file.path) != file.sha256:
                raise CorruptFile(f"{source} is not what was pushed: its sha256 differs", "push the adapter again")
            done += file.size
            _report(context, done, total, file.path)
        return Transfer(repo, snapshot.name, tuple(file.path for file in files), done, snapshot.as_uri())

    def search(self, words: str, base: str, context: HubContext, *, limit: int = 50) -> list[Found]:
        """See `AdapterHub.search`; the newest first. Words are looked for in names, bases, methods and tags."""
        wanted = words.lower().split()
        found = []
        for ref in self.root(context).glob("*/*/refs/main"):
            with contextlib.suppress(OSError, CorruptFile):  # a repository that is broken, or just being written, is no result
                row = _described(ref)
                text = " ".join([row.repo, row.base, row.method, *row.tags]).lower()
                if all(word in text for word in wanted) and base.lower() in ("", row.base.lower()):
                    found.append(row)
        return sorted(found, key=lambda row: (-row.modified, row.repo))[:limit]

    def card(self, repo: str, revision: str, context: HubContext) -> str:
        """See `AdapterHub.card`."""
        path = self._find(_full_name(repo), revision or "main", self.root(context)) / CARD_FILE
        with disk_errors(path):
            return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def root(self, context: HubContext) -> Path:
        """The hub's directory: ``folder:/path``, the setting ``folder_hub``, or ``hub`` below the home."""
        chosen = str(context.settings.get("folder_hub") or "")
        return Path(chosen).expanduser().absolute() if chosen else context.home / "hub"

    def _find(self, repo: str, revision: str, root: Path) -> Path:
        place = root / repo
        if not place.is_dir():
            known = [f"{path.parent.name}/{path.name}" for path in root.glob("*/*") if (path / "refs").is_dir()]
            raise NotFound(f"no repository '{repo}' in {root}", closest(repo, known, "repository"))
        check_name(revision)
        ref = place / "refs" / revision
        if ref.is_file():
            return place / "snapshots" / ref.read_text(encoding="utf-8").strip()
        names = sorted(path.name for path in (place / "snapshots").iterdir() if not path.name.startswith("."))
        found = [name for name in names if len(revision) >= _MIN_PREFIX and name.startswith(revision)]
        if len(found) > 1:
            raise UsageError(f"'{revision}' is the beginning of {len(found)} revisions of {repo}", "give more of it")
        if not found:
            raise NotFound(f"no revision '{revision}' of {repo}", "there are: " + ", ".join(name[:12] for name in names))
        return place / "snapshots" / found[0]


def _described(ref: Path) -> Found:
    """What the newest snapshot of a repository says of itself, by its ``refs/main``."""
    place = ref.parent.parent
    snapshot = place / "snapshots" / ref.read_text(encoding="utf-8").strip()
    files, manifest = read_adapter(snapshot), read_manifest(snapshot) or Manifest()
    return Found(
        f"{place.parent.name}/{place.name}", None, None, ref.stat().st_mtime,
        manifest.base.hub_id or manifest.base.name or files.base, manifest.method or files.kind, tuple(manifest.tags),
    )  # fmt: skip


def _full_name(repo: str) -> str:
    return repo if "/" in repo else f"{_DEFAULT_OWNER}/{repo}"


def _revision(files: list[HubFile]) -> str:
    lines = sorted(f"{file.sha256}  {file.path}\n" for file in files)
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _copy_all(folder: Path, files: list[HubFile], snapshot: Path, context: HubContext) -> int:
    total, done = sum(file.size for file in files), 0
    with staged_folder(snapshot) as staging:
        for file in files:
            shutil.copyfile(folder / file.path, staging / file.path)
            if sha256_file(staging / file.path) != file.sha256:
                raise CorruptFile(f"{folder / file.path} changed while it was copied", "push again")
            done += file.size
            _report(context, done, total, file.path)
        write_json(staging / LISTING, Listing(files))
    return done


def _listed(snapshot: Path) -> list[HubFile]:
    """The files a snapshot should hold; names that would leave the folder, and kinds that may not enter, are refused."""
    try:
        files = read_json(snapshot / LISTING, Listing).files
    except FileNotFoundError:
        raise CorruptFile(f"{snapshot} has no {LISTING}", "push the adapter again") from None
    for file in files:
        if Path(file.path).name != file.path or not is_safe_file(file.path):
            raise CorruptFile(f"{snapshot / LISTING} lists '{file.path}', which does not belong into an adapter")
    return files


def _report(context: HubContext, done: int, total: int, name: str) -> None:
    if context.progress is not None:
        context.progress(done, total, name)
