"""Where artifacts come from, and how two adapters differ."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from ..errors import CorruptFile
from .bases import find_base
from .entries import AdapterEntry, ModelEntry
from .manifest import Parent, read_manifest

_COMPARED = ("base", "base_digest", "method", "peft_type", "rank", "task", "parameters", "size_bytes", "digest")


class Difference(msgspec.Struct, frozen=True):
    """One thing in which two adapters differ; ``None`` where one lacks it. ``key`` is ``part.name`` for options and metrics."""

    key: str
    first: Any
    second: Any


class Ancestor(msgspec.Struct, frozen=True, kw_only=True):
    """Something an artifact was made from.

    Attributes:
        depth: 1 for what it was made from directly.
        relation: ``base``, ``merged``, ``combined``, ``resumed``, ``fetched``.
        path: on this machine; empty when ``missing``.
    """

    depth: int
    name: str
    kind: str
    relation: str
    digest: str = ""
    repo: str = ""
    revision: str = ""
    path: str = ""
    missing: bool = False


def diff(first: AdapterEntry, second: AdapterEntry) -> list[Difference]:
    """Where two adapters differ; an empty list when they are the same in all that is compared."""
    rows = [Difference(key, getattr(first, key), getattr(second, key)) for key in _COMPARED]
    for part in ("options", "metrics"):
        ours: Mapping[str, Any] = getattr(first, part)
        theirs: Mapping[str, Any] = getattr(second, part)
        rows += [Difference(f"{part}.{key}", ours.get(key), theirs.get(key)) for key in sorted({*ours, *theirs})]
    return [row for row in rows if row.first != row.second]


def lineage(folder: Path, models: Sequence[ModelEntry], adapters: Sequence[AdapterEntry]) -> list[Ancestor]:
    """What the artifact in ``folder`` was made from, and what that was made from, nearest first."""
    rows: list[Ancestor] = []
    seen = {str(folder)}
    waiting = [(folder, 1)]
    while waiting:
        current, depth = waiting.pop(0)
        for ancestor in _parents(current, depth, models, adapters):
            rows.append(ancestor)
            if ancestor.path and ancestor.path not in seen:
                seen.add(ancestor.path)
                waiting.append((Path(ancestor.path), depth + 1))
    return rows


def _parents(folder: Path, depth: int, models: Sequence[ModelEntry], adapters: Sequence[AdapterEntry]) -> list[Ancestor]:
    try:
        manifest = read_manifest(folder)
    except CorruptFile:
        return []
    if manifest is None:
        return []
    base, rows = manifest.base, []
    if base.digest or base.hub_id or base.name:
        model = find_base(base, [model for model in models if model.path != str(folder)])
        rows.append(
            Ancestor(
                depth=depth, name=base.hub_id or (model.name if model else base.name), kind="model", relation="base", digest=base.digest,
                repo=base.hub_id, revision=base.revision, path=model.path if model else "", missing=model is None,
            )
        )  # fmt: skip
    others = [parent for parent in manifest.parents if not (parent.digest and parent.digest == base.digest)]
    rows += [_ancestor(parent, depth, models, adapters) for parent in others]
    if manifest.source.repo:
        source = manifest.source
        rows.append(Ancestor(depth=depth, name=source.repo, kind="adapter", relation="fetched", repo=source.repo, revision=source.revision))
    return rows


def _ancestor(parent: Parent, depth: int, models: Sequence[ModelEntry], adapters: Sequence[AdapterEntry]) -> Ancestor:
    candidates: Sequence[ModelEntry | AdapterEntry] = models if parent.kind == "model" else adapters
    found = next((entry for entry in candidates if parent.digest and entry.digest == parent.digest), None)
    found = found or next((entry for entry in candidates if parent.repo and entry.hub_id == parent.repo), None)
    return Ancestor(
        depth=depth, name=found.name if found else parent.name or parent.repo, kind=parent.kind, relation=parent.relation,
        digest=parent.digest, repo=parent.repo, revision=parent.revision, path=found.path if found else "", missing=found is None,
    )  # fmt: skip
