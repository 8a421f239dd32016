"""What is sent and what is received: the parcel of a push, its plan, and the requests of push and pull runs."""

from __future__ import annotations

import hashlib
import os
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from ..core import registry
from ..core.api import HubFile, PushPlan, Transfer
from ..core.catalog.catalog import Catalog, require_usable
from ..core.catalog.editing import is_safe_file, own_files
from ..core.catalog.entries import AdapterEntry
from ..core.catalog.manifest import MANIFEST_FILE, BaseRef, Manifest, Source, read_manifest, write_manifest
from ..core.catalog.names import name_from, require_free
from ..core.catalog.peftfiles import CONFIG_FILE, read_adapter
from ..core.config import Settings
from ..core.errors import CorruptFile, UsageError
from ..core.fsio import disk_errors, read_json
from ..core.options import to_dict
from ..core.paths import Home
from ..core.runs.spec import HubRequest
from .card import base_licence, model_card

CARD_FILE = "README.md"
_REPO = re.compile(r"(?:[A-Za-z0-9][\w.-]{0,95}/)?[A-Za-z0-9][\w.-]{0,95}")


@dataclass(frozen=True)
class Parcel:
    """What a push sends: each file's content, or the local file that holds it."""

    contents: Mapping[str, bytes | Path]
    card: str
    warnings: tuple[str, ...]

    def plan(self, repo: str, private: bool) -> PushPlan:
        """Sizes and digests of the files."""
        files = [_hub_file(path, content) for path, content in sorted(self.contents.items())]
        return PushPlan(repo, private, tuple(files), self.card, self.warnings)

    def unpack(self, folder: Path) -> None:
        """Lay the files out in ``folder``; weights are linked, not copied."""
        with disk_errors(folder):
            for path, content in self.contents.items():
                if isinstance(content, bytes):
                    (folder / path).write_bytes(content)
                else:
                    os.symlink(content.resolve(), folder / path)


def is_publishable(name: str) -> bool:
    """Whether a file travels: weights, configuration, tokenizer and text; no pickles, no code, nothing hidden."""
    return is_safe_file(name) and not name.startswith(".")


def _hub_file(path: str, content: bytes | Path) -> HubFile:
    if isinstance(content, bytes):
        return HubFile(path, len(content), hashlib.sha256(content).hexdigest())
    return HubFile(path, content.stat().st_size)


# Sending -------------------------------------------------------------------------------------------------------------


def plan_push(home: Home, adapter: str, repo: str, *, hub: str = "huggingface", private: bool = True) -> PushPlan:
    """What pushing ``adapter`` to ``repo`` would send. Uses no network and writes nothing.

    Raises:
        NotFound, UsageError: unknown adapter or hub, impossible repository name.
        CorruptFile, UnsafeFile: the adapter is broken. Refused: its folder has links that lead out of it.
    """
    hub_name(hub)
    return make_parcel(home, adapter, check_repo(repo)).plan(repo, private)


def make_parcel(home: Home, adapter: str, repo: str) -> Parcel:
    """Everything that goes into the repository, without any path of this machine; local files stay untouched."""
    catalog = Catalog(home)
    entry = catalog.adapter(adapter)
    require_usable(entry)
    folder = Path(entry.path)
    manifest = _published_manifest(entry, catalog, folder)
    base_id, warnings = manifest.base.hub_id, []
    if not base_id:
        warnings.append(f"the base '{manifest.base.name or 'unknown'}' has no Hub id: it is left out of the card")
    contents: dict[str, bytes | Path] = {
        path.name: path for path in own_files(folder) if is_publishable(path.name) and path.name not in (CARD_FILE, MANIFEST_FILE)
    }
    for name in (CONFIG_FILE, "config.json"):
        if name in contents:
            found = read_json(folder / name)
            config = _without_paths(found)
            if name == CONFIG_FILE:
                config["base_model_name_or_path"] = base_id or manifest.base.name or None
            if config != found:
                contents[name] = _json(config)
    contents[MANIFEST_FILE] = _json(manifest)
    card = model_card(entry, manifest, repo, base_id, base_licence(Path(entry.base_path)) if entry.base_path else {})
    contents[CARD_FILE] = card.encode()
    return Parcel(contents, card, tuple(warnings))


def _published_manifest(entry: AdapterEntry, catalog: Catalog, folder: Path) -> Manifest:
    """The manifest without local paths, the base by its Hub id, revision and digest, else by name and digest."""
    manifest = read_manifest(folder) or Manifest(name=entry.name, method=entry.method, task=entry.task, created=entry.created)
    base = manifest.base
    if entry.base_path:
        model = catalog.model(entry.base_path)
        same = bool(base.digest) and model.digest == base.digest
        base.hub_id = base.hub_id or (model.hub_id if same else "")
        base.revision = base.revision or (model.revision if same else "")
        base.name = base.name or model.name
    elif not base.hub_id and entry.base.count("/") == 1 and not entry.base.startswith("/"):
        base.hub_id = entry.base
    name = base.hub_id or Path(base.name or entry.base).name
    manifest.base = BaseRef(name=name, hub_id=base.hub_id, revision=base.revision, digest=base.digest)
    for parent in manifest.parents:
        parent.name = parent.repo or Path(parent.name).name
    manifest.source = Source()
    return msgspec.convert(_without_paths(msgspec.to_builtins(manifest)), Manifest)


def _without_paths(value: Any) -> Any:
    """Absolute paths of two parts or more, anywhere in ``value``, shortened to the last part."""
    if isinstance(value, dict):
        return {key: _without_paths(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_without_paths(item) for item in value]
    if isinstance(value, str) and os.path.isabs(value) and value.count("/") > 1 and "\n" not in value:
        return Path(value).name
    return value


def _json(value: Any) -> bytes:
    return msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"


# Receiving -----------------------------------------------------------------------------------------------------------


def accept(folder: Path, name: str, hub: str, transfer: Transfer) -> None:
    """Check a fetched adapter in ``folder`` and write where it came from into its manifest.

    Raises:
        NotFound, UnsafeFile, CorruptFile: it is no adapter, or a broken one.
    """
    files = read_adapter(folder)
    try:
        manifest = read_manifest(folder) or Manifest()
    except CorruptFile:
        manifest = Manifest()
    if files.is_delta and not manifest.base.digest:
        raise CorruptFile(f"{transfer.repo} is a delta whose {MANIFEST_FILE} does not say of which base", "ask its author to push it again")
    manifest.method = manifest.method or files.kind
    manifest.created = manifest.created or time.time()
    manifest.name, manifest.kind, manifest.base.path = name, "adapter", ""
    manifest.source = Source(hub=hub, repo=transfer.repo, revision=transfer.revision)
    write_manifest(folder, manifest)


# Requests ------------------------------------------------------------------------------------------------------------


def push_request(
    home: Home,
    adapter: str,
    repo: str,
    *,
    hub: str = "huggingface",
    private: bool = True,
    revision: str = "",
    pull_request: bool = False,
    settings: Settings | None = None,
) -> HubRequest:
    """The request of a push run, checked as far as it can be without the network."""
    entry = Catalog(home).adapter(adapter)
    require_usable(entry)
    return HubRequest(
        hub=hub_name(hub), repo=check_repo(repo), revision=revision, adapter=entry.path, name=entry.name, private=private,
        pull_request=pull_request, settings=hub_settings(hub, settings), home=str(home.root),
    )  # fmt: skip


def pull_request(home: Home, repo: str, *, hub: str = "huggingface", name: str = "", settings: Settings | None = None) -> HubRequest:
    """The request of a pull run.

    Args:
        repo: repository, with ``@revision`` where not the newest is wanted.
        name: in the catalog; empty: the repository's.

    Raises:
        NameTaken: the name is in use; found before anything is fetched.
    """
    repo, _, revision = repo.partition("@")
    check_repo(repo)
    name = require_free(home, name or name_from(Path(repo)))
    return HubRequest(hub=hub_name(hub), repo=repo, revision=revision, name=name, settings=hub_settings(hub, settings), home=str(home.root))


def hub_name(hub: str) -> str:
    """The plugin that ``--hub`` names: ``huggingface``, ``folder``, ``folder:/path``.

    Raises:
        NotFound: there is none.
    """
    name = hub.partition(":")[0]
    registry.load("hubs", name)
    return name


def check_repo(repo: str) -> str:
    """Return ``repo`` if it can name a repository, ``owner/name`` or ``name``.

    Raises:
        UsageError: it cannot.
    """
    if not _REPO.fullmatch(repo) or ".." in repo or "--" in repo:
        raise UsageError(f"'{repo}' cannot be a repository", "write owner/name: letters, digits, '.', '_' and single '-'")
    return repo


def hub_settings(hub: str, settings: Settings | None) -> dict[str, Any]:
    """The settings that a hub is given; ``folder:/path`` says where the folder is."""
    values = to_dict(settings, changed_only=True) if settings is not None else {}
    folder = hub.partition(":")[2]
    return {**values, "folder_hub": str(Path(folder).expanduser().absolute())} if folder else values
