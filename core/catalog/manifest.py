"""``finetui.json``, the manifest that lies beside every artifact FineTUI made, imported or pulled: where it comes from."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import msgspec

from ..errors import CorruptFile
from ..fsio import read_json, write_json

MANIFEST_FILE = "finetui.json"

_WRITTEN_VERSION = 1


class BaseRef(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The base model an artifact was trained on.

    Attributes:
        name: as the catalog called it; a hint, not an identity.
        hub_id: ``org/name`` where it has one.
        revision: commit of ``hub_id``.
        digest: of its weight files (`digest.digest_folder`): the identity.
        path: where it lay on the machine that trained; never published.
    """

    name: str = ""
    hub_id: str = ""
    revision: str = ""
    digest: str = ""
    path: str = ""


class DataRef(msgspec.Struct, kw_only=True, omit_defaults=True):
    """The training data: files as given, one digest over their contents, rows after reading.

    Attributes:
        eval_files: evaluation data given apart from it; empty where rows were kept from ``files``, or nothing was.
        eval_digest: over their contents.
    """

    files: list[str] = []
    digest: str = ""
    rows: int = 0
    eval_files: list[str] = []
    eval_digest: str = ""


class Parent(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Something an artifact was made from, named by ``digest`` or by ``repo`` and ``revision``, never by a path alone.

    Attributes:
        relation: ``base``, ``merged``, ``combined``, ``resumed``.
    """

    kind: Literal["adapter", "model"] = "model"
    relation: str = ""
    name: str = ""
    digest: str = ""
    repo: str = ""
    revision: str = ""


class Source(msgspec.Struct, kw_only=True, omit_defaults=True):
    """Where an artifact was fetched from: hub plugin, repository, and the commit that was fetched."""

    hub: str = ""
    repo: str = ""
    revision: str = ""


class Manifest(msgspec.Struct, kw_only=True):
    """The whole of ``finetui.json``. Keys a newer version added are ignored on reading and kept by `update_manifest`.

    Attributes:
        version: of this layout.
        training_options: those that were not the defaults.
        training_precision: ``bf16``, ``fp16`` or ``fp32``: what the computation ran in, whoever decided it.
        objective: that was asked for; empty: by the shape of the data.
        labels: names of the classes of a classifier, in order.
        versions: of the packages that made it, ``{"torch": "2.13.0", …}``.
        metrics: last figures: ``loss``, ``eval_loss``, ``perplexity``, ``trainable_parameters``, ….
        created: seconds since the epoch.
        source: set when the artifact was pulled.
    """

    version: int = _WRITTEN_VERSION
    kind: Literal["adapter", "model"] = "adapter"
    name: str = ""
    method: str = ""
    method_options: dict[str, Any] = {}
    training_options: dict[str, Any] = {}
    training_precision: str = ""
    objective: str = ""
    task: str = ""
    labels: list[str] = []
    base: BaseRef = msgspec.field(default_factory=BaseRef)
    data: DataRef = msgspec.field(default_factory=DataRef)
    seed: int = 0
    versions: dict[str, str] = {}
    metrics: dict[str, Any] = {}
    run: str = ""
    created: float = 0.0
    parents: list[Parent] = []
    tags: list[str] = []
    source: Source = msgspec.field(default_factory=Source)


def read_manifest(folder: Path) -> Manifest | None:
    """The manifest of ``folder``, or nothing where there is none.

    Raises:
        CorruptFile: ``finetui.json`` is not JSON, or a known key has the wrong type.
    """
    try:
        return read_json(folder / MANIFEST_FILE, Manifest)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as problem:
        raise CorruptFile(f"{folder / MANIFEST_FILE}: cannot be read ({problem.strerror})") from None


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write ``finetui.json`` into ``folder``, atomically."""
    write_json(folder / MANIFEST_FILE, manifest)


def update_manifest(folder: Path, **changes: Any) -> None:
    """Replace some keys of the manifest; keys that this version does not know stay. Creates one where there is none.

    Raises:
        CorruptFile: the manifest that is there cannot be read.
    """
    path = folder / MANIFEST_FILE
    try:
        content: dict[str, Any] = read_json(path)
    except FileNotFoundError:
        content = msgspec.to_builtins(Manifest())
    write_json(path, {**content, **changes})
