"""The runs of a home directory: one folder a run, found by id, by the beginning of the id, or by name."""

from __future__ import annotations

import contextlib
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from ... import __version__
from .. import errors, fsio
from ..paths import Home
from . import meters, records
from .spec import ACTIVE, Event, Result, RunKind, RunSpec, RunState, host_name, new_ulid
from .summary import summarise

_LEAVING_SECONDS = 5.0
"""How long a supervisor may still be there after its run's end, telling it to whoever asked to be told."""


class Run:
    """One run: its directory and what its files say. Reading never blocks the run.

    Attributes:
        dir: absolute path of the run's directory.
        spec: what it was asked to do.
    """

    def __init__(self, folder: Path, spec: RunSpec) -> None:
        self.dir = folder
        self.spec = spec

    @property
    def id(self) -> str:
        """The run's ULID."""
        return self.spec.run

    @property
    def home(self) -> Home:
        """The home directory that it belongs to."""
        return Home(self.dir.parent.parent)

    def state(self) -> RunState:
        """Where it stands, as last written (`adopt.refresh` also looks whether that is still true)."""
        return records.read_state(self.dir)

    def events(self) -> list[Event]:
        """All events, oldest first."""
        return fsio.JsonlReader(self.dir / "events.jsonl", Event).read()

    def metrics(self) -> list[dict[str, Any]]:
        """All metric lines, oldest first, without those that a later attempt trained again."""
        return records.drop_superseded(fsio.JsonlReader(self.dir / "metrics.jsonl").read())

    def meters(self) -> list[dict[str, Any]]:
        """All readings of its devices, oldest first (see `meters.read`; `meters.summarise` makes figures of them)."""
        return fsio.JsonlReader(self.dir / meters.FILE).read()

    def last_metrics(self) -> dict[str, Any]:
        """The last line of training metrics; empty before the first. Reads the file's tail only."""
        lines = fsio.tail_records(self.dir / "metrics.jsonl")
        return next((line for line in reversed(lines) if "loss" in line), lines[-1] if lines else {})

    def result(self) -> Result | None:
        """How the job of the current attempt ended, in its own words; ``None`` while it runs or if it could not say."""
        return records.read_result(self.dir, self.state().attempt)

    def summary(self) -> dict[str, Any]:
        """The JSON of ``runs show``."""
        state = self.state()
        row = summarise(self.spec, state, self.events(), self.last_metrics(), records.read_result(self.dir, state.attempt))
        return row | {"queue_position": self._queue_position() if state.state == "queued" else None}

    def _queue_position(self) -> int | None:
        from .queue import Queue  # it stands on runs itself

        waiting = Queue(self.home).find(self.id)
        return waiting.position if waiting else None


class RunStore:
    """Creates, finds, lists and removes the runs of a home directory."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def create(self, kind: RunKind, name: str, request: msgspec.Struct | dict[str, Any], *, module: str = "", parent: str = "") -> Run:
        """Write a new run's directory, whole or not at all; it is ``queued`` until it is launched.

        Args:
            name: for people; need not be unique.
            request: the request struct of the kind.
            module: job module; empty: that of the kind.
            parent: id of the run that starts this one.

        Raises:
            DiskError: it could not be written; nothing half-written stays.
        """
        spec = RunSpec(
            run=new_ulid(), kind=kind, name=name, request=msgspec.to_builtins(request), module=module, parent=parent,
            created=datetime.now(UTC).timestamp(), host=host_name(), version=__version__,
        )  # fmt: skip
        state = RunState(history=[{"state": "queued", "time": spec.created, "reason": ""}])
        folder = self.home.runs / spec.run
        with fsio.staged_folder(folder) as staging:
            (staging / "control").mkdir()
            (staging / "checkpoints").mkdir()
            (staging / "lock").touch()
            for file, record in (("spec.json", spec), ("state.json", state)):
                (staging / file).write_bytes(msgspec.json.format(msgspec.json.encode(record), indent=2) + b"\n")
        return Run(folder, spec)

    def get(self, word: str) -> Run:
        """The run with this id, name, or beginning of an id.

        Raises:
            NotFound: there is none; the closest names are suggested.
            UsageError: several runs have this name or beginning.
            CorruptFile: its ``spec.json`` cannot be read.
        """
        exact = self.home.runs / word.upper()
        if word and (exact / "spec.json").is_file():
            return Run(exact, records.read_spec(exact))
        runs = self.list()
        matches = [run for run in runs if run.spec.name == word] or [run for run in runs if word and run.id.startswith(word.upper())]
        if len(matches) == 1:
            return matches[0]
        if matches:
            ids = ", ".join(run.id for run in matches[:5])
            raise errors.UsageError(f"'{word}' is the name of {len(matches)} runs", f"name one by its id, newest first: {ids}")
        raise errors.NotFound(f"no run '{word}'", errors.closest(word, {run.spec.name for run in runs}, "run") or "see `finetui runs list`")

    def list(self, kind: str = "") -> list[Run]:
        """All runs, or those of one kind, newest first. Folders that are no run (no readable ``spec.json``) are left out."""
        runs = []
        with contextlib.suppress(FileNotFoundError):
            for folder in sorted(self.home.runs.iterdir(), reverse=True):
                if not folder.name.startswith("."):
                    with contextlib.suppress(OSError, errors.CorruptFile):
                        runs.append(Run(folder, records.read_spec(folder)))
        return [run for run in runs if not kind or run.spec.kind == kind]

    def children(self, run: Run) -> list[Run]:
        """The runs that ``run`` started, oldest first."""
        return [child for child in reversed(self.list()) if child.spec.parent == run.id]

    def remove(self, run: Run) -> None:
        """Delete a run's directory, checkpoints included; what it published stays.

        Raises:
            Refused: it is active, or has ended just now and its supervisor takes long to leave.
            DiskError: it could not be deleted.
        """
        lock = fsio.FileLock(records.lock_file(run.dir))
        state = run.state().state
        deadline = time.monotonic() + (0 if state in ACTIVE else _LEAVING_SECONDS)
        while not (free := lock.acquire()) and time.monotonic() < deadline:
            time.sleep(0.02)
        if state in ACTIVE and not (free and state == "queued"):
            lock.release()
            raise errors.Refused(f"run {run.id} is {state}", f"stop it first: finetui runs stop {run.id}")
        if not free:
            raise errors.Refused(f"run {run.id} has ended, but its supervisor is still there", "try again in a moment")
        gone = run.dir.with_name(f".{run.id}.removed")
        try:
            with fsio.disk_errors(run.dir):
                run.dir.rename(gone)
                shutil.rmtree(gone)
        finally:
            lock.release()
