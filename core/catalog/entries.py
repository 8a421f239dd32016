"""What the catalog knows of a base model and of an adapter; ``msgspec.to_builtins`` gives the JSON of the command line."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Literal

import msgspec

from ..api import Artifact
from ..errors import UsageError

ModelSource = Literal["embedded", "local", "cache", "trained", "merged"]
AdapterSource = Literal["trained", "imported", "pulled", "cache", "local"]


class ModelEntry(msgspec.Struct, kw_only=True):
    """One base model on this machine.

    Attributes:
        name: in the catalog; the Hub id for those in the Hugging Face cache; the path for a folder given by path.
        path: absolute folder.
        digest: sha256 over its weight files; ``None`` until somebody asked for it (see `Catalog.digest`).
        size_bytes: of the weight files.
        parameters: count, tied weights once; 0 where unknown.
        source: ``embedded``, ``local`` (registered or given by path), ``cache`` (Hugging Face), ``trained``, ``merged``.
        task: ``causal-lm``, ``seq-cls`` or empty.
        labels: names of its classes, in order, where it classifies.
        hub_id: ``org/name`` where it came from the Hub.
        revision: commit of ``hub_id``.
        base: name of the model it was made from; empty for an original.
        method: that made it; empty for an original.
        chat_template: whether the tokenizer has one.
        problem: why it cannot be used; empty when it can.
    """

    name: str
    path: str
    digest: str | None = None
    size_bytes: int = 0
    architecture: str = ""
    model_type: str = ""
    parameters: int = 0
    dtype: str = ""
    source: ModelSource = "local"
    task: str = ""
    labels: list[str] = []
    hub_id: str = ""
    revision: str = ""
    base: str = ""
    method: str = ""
    run: str = ""
    created: float = 0.0
    tags: list[str] = []
    chat_template: bool = False
    problem: str = ""


class AdapterEntry(msgspec.Struct, kw_only=True):
    """One adapter on this machine; a full fine-tune counts as one, with method ``full``.

    Attributes:
        artifact: ``adapter`` (a PEFT folder), ``delta`` (replacement tensors of the base) or ``model`` (a full fine-tune).
        peft_type: as in ``adapter_config.json``, ``LORA``; empty for what is not a PEFT folder.
        rank: ``r`` of the configuration, where it has one.
        base: the base's Hub id, else its catalog name, else what the adapter's configuration says.
        base_path: folder of the base on this machine; empty when it is missing.
        base_digest: recorded when it was trained; empty where nothing was recorded.
        base_missing: whether the base is not on this machine.
        parameters: stored in the adapter's weight files.
        labels: names of its classes, in order, where it classifies.
        metrics: from the manifest.
        hub_id: repository it was pulled from or is cached from.
    """

    name: str
    path: str
    digest: str | None = None
    size_bytes: int = 0
    artifact: Artifact = "adapter"
    method: str = ""
    peft_type: str = ""
    rank: int | None = None
    base: str = ""
    base_path: str = ""
    base_digest: str = ""
    base_revision: str = ""
    base_missing: bool = False
    parameters: int = 0
    source: AdapterSource = "local"
    task: str = ""
    labels: list[str] = []
    hub_id: str = ""
    revision: str = ""
    run: str = ""
    created: float = 0.0
    tags: list[str] = []
    options: dict[str, Any] = {}
    metrics: dict[str, Any] = {}
    problem: str = ""


ADAPTER_SORTS = ("name", "created", "size", "loss")


def select_adapters(
    entries: Iterable[AdapterEntry], *, base: str = "", method: str = "", search: str = "", sort: str = "name"
) -> list[AdapterEntry]:
    """Filter and sort adapters, as ``adapters list`` and the catalog screen do.

    Args:
        base: name or folder of a base; substrings of the name match.
        method: exact method name.
        search: words that must all occur in the name, base, method or tags.
        sort: one of `ADAPTER_SORTS`; ``created`` shows the newest first, ``size`` the largest, ``loss`` the lowest evaluation loss.

    Raises:
        UsageError: an unknown sort key.
    """
    if sort not in ADAPTER_SORTS:
        raise UsageError(f"cannot sort by '{sort}'", f"sort by one of: {', '.join(ADAPTER_SORTS)}")
    words = search.lower().split()
    kept = [
        entry
        for entry in entries
        if (not base or base.lower() in entry.base.lower() or base == entry.base_path)
        and (not method or entry.method == method)
        and all(word in _searchable(entry) for word in words)
    ]
    return sorted(kept, key=SORT_KEYS[sort])


def _searchable(entry: AdapterEntry) -> str:
    return " ".join([entry.name, entry.base, entry.method, *entry.tags]).lower()


def _loss(entry: ModelEntry | AdapterEntry) -> float:
    metrics = entry.metrics if isinstance(entry, AdapterEntry) else {}
    value = metrics.get("eval_loss", metrics.get("loss"))
    return float(value) if isinstance(value, (int, float)) else float("inf")


SORT_KEYS: dict[str, Callable[[ModelEntry | AdapterEntry], Any]] = {
    "name": lambda entry: entry.name.lower(),
    "created": lambda entry: -entry.created,
    "size": lambda entry: -entry.size_bytes,
    "loss": _loss,
}
"""Each of `ADAPTER_SORTS` as a key; models, which have no loss, keep their order there."""
