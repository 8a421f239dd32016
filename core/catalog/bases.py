"""Which base model of this machine an adapter belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from .entries import ModelEntry
from .manifest import BaseRef


def find_base(base: BaseRef, models: Sequence[ModelEntry]) -> ModelEntry | None:
    """The model that ``base`` names: by digest first, then by Hub id, path and name; nothing when it is not here.

    A model whose digest is known and differs from a recorded one is not the base, whatever it is called.
    """
    if base.digest:
        for model in models:
            if model.digest == base.digest:
                return model
    possible = [model for model in models if not (base.digest and model.digest and model.digest != base.digest)]
    return (
        _by_hub_id(base, possible)
        or _by_path(base.path, models, possible)
        or _first(m for m in possible if base.name and m.name == base.name)
    )


def _by_hub_id(base: BaseRef, models: Iterable[ModelEntry]) -> ModelEntry | None:
    same = [model for model in models if base.hub_id and model.hub_id == base.hub_id]
    return _first(model for model in same if model.revision == base.revision) or _first(iter(same))


def _by_path(path: str, models: Iterable[ModelEntry], possible: Sequence[ModelEntry]) -> ModelEntry | None:
    """The model that lies at ``path``, listed or not; one that is listed counts only when it is ``possible``."""
    if not path:
        return None
    real = Path(path).resolve()
    listed = _first(model for model in models if Path(model.path).resolve() == real)
    if listed is not None:
        return listed if listed in possible else None
    return ModelEntry(name=path, path=path) if (real / "config.json").is_file() else None


def _first(models: Iterable[ModelEntry]) -> ModelEntry | None:
    return next(iter(models), None)
