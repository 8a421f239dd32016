"""The catalog: every base model and adapter on this machine, by name. What the files say is the truth."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import CorruptFile, Incompatible, NotFound, UsageError, closest
from ..paths import Home
from ..planner.reading import read_model
from . import editing
from .bases import find_base
from .digest import blob_digest, digest_folder, sha256_file, weight_files
from .entries import AdapterEntry, ModelEntry
from .index import Index, index_path
from .lineage import Ancestor, Difference, diff, lineage
from .manifest import MANIFEST_FILE
from .peftfiles import is_adapter, read_adapter, shape_conflicts
from .scan import AdapterFacts, Kind, Place, fingerprint, kinds, places, scan_adapter, scan_model

T = TypeVar("T", ModelEntry, AdapterFacts)
E = TypeVar("E", ModelEntry, AdapterEntry)

HASH_LIMIT = 256_000_000
"""Bytes up to which listing computes a digest that is not known yet; larger artifacts are hashed when asked for."""

MIN_PREFIX = 6
"""Shortest prefix of a digest or run id that names an adapter."""


_SETTLED_NS = 50_000_000
"""A file written so shortly ago may be written again within the same tick of its modification time: not remembered yet."""


class Catalog:
    """Base models and adapters of one home. Cheap to make; safe to use from several threads."""

    def __init__(self, home: Home) -> None:
        self.home = home
        self._index = Index(index_path(home))

    def close(self) -> None:
        """Close the index. A catalog that is simply dropped closes it too."""
        self._index.close()

    # Listing -------------------------------------------------------------------------------------------------------

    def models(self) -> list[ModelEntry]:
        """Every base model: embedded, registered, trained or merged here, and those in the Hugging Face cache."""
        return self._scan()[0]

    def adapters(self) -> list[AdapterEntry]:
        """Every adapter, each with its base looked up; full fine-tunes too."""
        models, found = self._scan()
        return [_with_base(facts, models) for facts in found]

    def _scan(self) -> tuple[list[ModelEntry], list[AdapterFacts]]:
        models: list[ModelEntry] = []
        adapters: list[AdapterFacts] = []
        for place in places(self.home):
            for kind in kinds(place):
                if kind == "model":
                    models.append(self._model_at(place))
                else:
                    adapters.append(self._adapter_at(place))
        return models, adapters

    def _model_at(self, place: Place) -> ModelEntry:
        mark = fingerprint(place)
        entry = self._remembered("model", place, mark, ModelEntry)
        if entry is None:
            entry = scan_model(place)
            self._remember("model", place, mark, entry, entry.problem)
        entry.digest = self._listed_digest(entry)
        return entry

    def _adapter_at(self, place: Place) -> AdapterFacts:
        mark = fingerprint(place)
        facts = self._remembered("adapter", place, mark, AdapterFacts)
        if facts is None:
            facts = scan_adapter(place)
            self._remember("adapter", place, mark, facts, facts.entry.problem)
        facts.entry.digest = self._listed_digest(facts.entry)
        return facts

    def _remembered(self, kind: Kind, place: Place, mark: str, type: type[T]) -> T | None:
        content = self._index.facts(f"{kind} {place.folder}", mark)
        with contextlib.suppress(msgspec.DecodeError):
            return msgspec.json.decode(content, type=type) if content else None
        return None

    def _remember(self, kind: Kind, place: Place, mark: str, facts: object, problem: str) -> None:
        if not problem:
            self._index.set_facts(f"{kind} {place.folder}", mark, msgspec.json.encode(facts))

    # Digests -------------------------------------------------------------------------------------------------------

    def digest(self, path: str | Path) -> str:
        """The digest of the weight files in a folder, whatever it takes; files hashed before are not read again.

        Raises:
            NotFound: the folder holds no weights.
            CorruptFile: a sharded model's index cannot be read.
            DiskError: a file cannot be read.
        """
        value = digest_folder(Path(path), self._file_digest)
        if not value:
            raise NotFound(f"{path} has no safetensors weights")
        return value

    def _file_digest(self, file: Path) -> str:
        known = self._index.digest(file)
        if known:
            return known
        status = file.stat()
        value = sha256_file(file)
        if time.time_ns() - status.st_mtime_ns > _SETTLED_NS:
            self._index.set_digest(file, status, value)
        return value

    def _listed_digest(self, entry: ModelEntry | AdapterEntry) -> str | None:
        """The digest where it is known or quickly found, else ``None``."""
        if entry.problem:
            return None
        folder = Path(entry.path)
        with contextlib.suppress(OSError):
            cheap = entry.size_bytes <= HASH_LIMIT or all(blob_digest(f) or self._index.digest(f) for f in weight_files(folder))
            return self.digest(folder) if cheap else None
        return None

    # Names ---------------------------------------------------------------------------------------------------------

    def model(self, name: str, *, digest: bool = False) -> ModelEntry:
        """The base model called ``name``: an existing folder, then a catalog name, then a Hub id (``@revision``) in the cache.

        A model that is there but broken is returned with its ``problem``: reading its files (`read_model`) raises it.

        Args:
            digest: compute the digest although the model is large.

        Raises:
            NotFound: none of these; the closest names are suggested.
            UsageError: several are called so.
        """
        entry = self._model_in(name, self.models())
        if digest and entry.digest is None and entry.size_bytes:
            entry.digest = self.digest(entry.path)
        return entry

    def _model_in(self, name: str, models: list[ModelEntry]) -> ModelEntry:
        named = [model for model in models if model.name == name]
        folder = _folder(name)
        if folder is not None and ((folder / "config.json").is_file() or not named):
            same = [model for model in models if Path(model.path) == folder]
            if not same and not (folder / "config.json").is_file():
                raise NotFound(
                    f"{folder} is not a model: it has no config.json", "a model folder holds config.json and safetensors weights"
                )
            return same[0] if same else self._model_at(Place(folder, str(folder), "path"))
        repo, _, revision = name.partition("@")
        if not named and revision:
            named = [model for model in models if model.hub_id == repo and model.revision.startswith(revision)]
        if not named:
            known = [model.name for model in models]
            hint = closest(name, known, "model")
            raise NotFound(f"no model '{name}' here", hint or f"give a folder, or fetch one: finetui models add {name}")
        return _only(named, name)

    def adapter(self, name: str, *, digest: bool = False) -> AdapterEntry:
        """The adapter called ``name``: a folder, a catalog name, a prefix of its digest, the id of the run that made it.

        An adapter that is there but broken is returned with its ``problem``: `require_usable` raises it.

        Raises:
            NotFound: none of these; the closest names are suggested.
            UsageError: several fit.
        """
        models, found = self._scan()
        facts = self._adapter_in(name, found)
        entry = _with_base(facts, models)
        if digest and entry.digest is None and entry.size_bytes:
            entry.digest = self.digest(entry.path)
        return entry

    def _adapter_in(self, name: str, found: list[AdapterFacts]) -> AdapterFacts:
        folder = _folder(name)
        named = [facts for facts in found if facts.entry.name == name]
        if folder is not None and (is_adapter(folder) or not named):
            same = [facts for facts in found if Path(facts.entry.path) == folder]
            if not same and not is_adapter(folder) and "adapter" not in kinds(Place(folder, str(folder), "path")):
                raise NotFound(
                    f"{folder} is not an adapter: it has no adapter_config.json", "PEFT writes it beside adapter_model.safetensors"
                )
            return same[0] if same else self._adapter_at(Place(folder, str(folder), "path"))
        if not named and len(name) >= MIN_PREFIX:
            prefix = name.lower()
            named = [facts for facts in found if (facts.entry.digest or "").startswith(prefix)]
            named = named or [facts for facts in found if facts.entry.run.lower().startswith(prefix)]
        if not named:
            known = [facts.entry.name for facts in found]
            raise NotFound(f"no adapter '{name}' here", closest(name, known, "adapter") or "see `finetui adapters list`")
        distinct = {facts.entry.path: facts.entry for facts in named}
        chosen = _only(list(distinct.values()), name)
        return next(facts for facts in named if facts.entry is chosen)

    # Fitting together ----------------------------------------------------------------------------------------------

    def check_pair(self, model: ModelEntry, adapter: AdapterEntry, *, ignore_digest: bool = False) -> None:
        """Make sure that ``adapter`` was trained on ``model``, and that both can be read.

        Args:
            ignore_digest: look at the shapes only; not for deltas, which are parts of one base and make nonsense of another.

        Raises:
            Incompatible: the recorded base digest differs from the model's, or tensor shapes contradict each other.
            UnsafeFile, CorruptFile, NotFound: one of the two is broken.
        """
        spec = read_model(Path(model.path))
        require_usable(adapter)
        is_delta = adapter.artifact == "delta"
        if is_delta and not adapter.base_digest:
            raise Incompatible(
                f"delta '{adapter.name}' does not say which base it belongs to: its {MANIFEST_FILE} is missing or names no digest",
                "fetch it again with its manifest, or train it again",
            )
        if adapter.base_digest and (is_delta or not ignore_digest):
            digest = model.digest or self.digest(model.path)
            if digest != adapter.base_digest:
                theirs, ours = _called(adapter.base, adapter.base_digest), _called(model.name, digest)
                raise Incompatible(f"adapter '{adapter.name}' was trained on {theirs}, not on {ours}", _other_base(adapter))
        if adapter.artifact == "model":
            return
        conflicts = shape_conflicts(read_adapter(Path(adapter.path)), spec)
        if conflicts:
            more = f" (and {len(conflicts) - 1} more)" if len(conflicts) > 1 else ""
            raise Incompatible(
                f"adapter '{adapter.name}' of {adapter.base or 'an unknown base'} does not fit '{model.name}': {conflicts[0]}{more}",
                _other_base(adapter),
            )

    # Relations -----------------------------------------------------------------------------------------------------

    def diff(self, first: str, second: str) -> list[Difference]:
        """Where two adapters differ: base, method, options, figures, sizes."""
        return diff(self.adapter(first), self.adapter(second))

    def lineage(self, name: str) -> list[Ancestor]:
        """What an adapter was made from, nearest first; what is not on this machine is marked ``missing``."""
        models, found = self._scan()
        return lineage(Path(self._adapter_in(name, found).entry.path), models, [facts.entry for facts in found])

    # Changing ------------------------------------------------------------------------------------------------------

    def add_model(self, folder: str | Path, name: str = "") -> ModelEntry:
        """Register a local model folder under ``name`` (default: its own); the files stay where they are.

        Raises:
            NameTaken: the name is in use.
            NotFound, CorruptFile, UnsafeFile: it is no usable model folder.
        """
        return self.model(editing.add_model(self.home, Path(folder), name))

    def remove_model(self, name: str) -> None:
        """Delete a model that lies below the home; of a registered folder only the entry goes.

        Raises:
            NotFound: no such model. Refused: it is not ours to delete, or an active run needs it.
        """
        editing.remove(self.home, self.home.models, self._model_in(name, self.models()))

    def import_adapter(self, folder: str | Path, name: str = "", base: str = "") -> AdapterEntry:
        """Copy a PEFT folder into the catalog.

        Args:
            base: model that it belongs to, checked and recorded; empty: what the folder says.

        Raises:
            NameTaken: the name is in use. UnsafeFile: its weights are a pickle. CorruptFile: they are torn.
            Incompatible: it does not fit ``base``.
        """
        model = self.model(base, digest=True) if base else None
        if model is not None:
            self.check_pair(model, self.adapter(str(Path(folder).expanduser().absolute())))
        return self.adapter(str(editing.import_adapter(self.home, Path(folder), name, model)))

    def remove_adapter(self, name: str) -> None:
        """Delete an adapter that lies below the home.

        Raises:
            NotFound: no such adapter. Refused: it is not ours to delete, or an active run needs it.
        """
        entry = self._adapter_in(name, self._scan()[1]).entry
        editing.remove(self.home, self.home.models if entry.method == "full" else self.home.adapters, entry)

    def tag(self, name: str, add: list[str] | None = None, remove: list[str] | None = None) -> AdapterEntry:
        """Add and remove tags of an adapter; they live in its manifest.

        Raises:
            Refused: the adapter is read-only (in the Hugging Face cache).
        """
        entry = self.adapter(name)
        editing.tag(entry, add or [], remove or [])
        return self.adapter(entry.path)


def require_usable(adapter: AdapterEntry) -> None:
    """Raise what is wrong with a broken adapter (`NotFound`, `CorruptFile`, `UnsafeFile`); nothing for a good one."""
    if not adapter.problem:
        return
    folder = Path(adapter.path)
    read_adapter(folder) if is_adapter(folder) or not (folder / "config.json").is_file() else read_model(folder)
    raise CorruptFile(adapter.problem)


def _with_base(facts: AdapterFacts, models: list[ModelEntry]) -> AdapterEntry:
    entry, others = facts.entry, [model for model in models if model.path != facts.entry.path]
    model = find_base(facts.base, others)
    entry.base_missing = model is None
    if model is not None:
        entry.base_path = model.path
        entry.base = facts.base.hub_id or model.name
    return entry


def _folder(name: str) -> Path | None:
    path = Path(name).expanduser()
    return path.absolute() if name and path.is_dir() else None


def _only(entries: list[E], name: str) -> E:
    if len(entries) > 1:
        choices = ", ".join(sorted(f"{entry.name} ({entry.path})" for entry in entries))
        raise UsageError(f"'{name}' is ambiguous: {choices}", "give the whole name, or the folder")
    return entries[0]


def _called(name: str, digest: str) -> str:
    return f"'{name or 'unknown'}' (sha256 {digest[:12]})"


def _other_base(adapter: AdapterEntry) -> str:
    if adapter.base_missing:
        return f"its base is not on this machine: finetui models add {adapter.base}" if adapter.base else "use the base it was trained on"
    return f"use --model {adapter.base}"
