"""Rows of data as training would see them, asked of a worker. No widgets; every method blocks and is called in threads."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from ..core.paths import Home
from .answers import Answers

if TYPE_CHECKING:
    from ..core.session import WorkerSession

AT_ONCE = 20
"""Rows asked for together; the next ones when the last of them is reached."""


class Rows:
    """The rows of one form's data, a page at a time; the worker that reads them starts with the first and lives until `close`."""

    def __init__(self, home: Home, answers: Answers) -> None:
        self.home, self.answers = home, answers
        self.known: list[dict[str, Any]] = []
        self.complete = False
        """Whether there are no more than are known."""
        self._turn = threading.Lock()
        self._session: WorkerSession | None = None
        self._closed = False

    def more(self) -> None:
        """Read the next rows.

        Raises:
            FineTUIError: as `core.worker.preview.preview`; the model or its tokenizer cannot be read.
        """
        with self._turn:
            if self.complete or self._closed:
                return
            rows = self._ask(len(self.known))
            self.known += rows
            self.complete = len(rows) < AT_ONCE

    def _ask(self, skip: int) -> list[dict[str, Any]]:
        from ..core.catalog.catalog import Catalog
        from ..core.runs.requests import existing_files, require_trainable
        from ..core.session import WorkerSession

        answers = self.answers
        entry = Catalog(self.home).model(answers.model)
        require_trainable(entry)
        files = existing_files(answers.data)
        if self._session is None:
            self._session = WorkerSession(self.home.log, gpus="none")
            if self._closed:  # meanwhile
                self._session.close()
        found = self._session.call(
            "preview", model_path=entry.path, data=files, columns=answers.columns, n=AT_ONCE, skip=skip,
            objective=answers.objective, task=answers.task or None, settings=answers.training_settings(),
        )  # fmt: skip
        return found["rows"]

    def close(self) -> None:
        """End the worker, whatever it does; returns at once."""
        self._closed = True
        session = self._session
        if session is not None:
            threading.Thread(target=session.close, daemon=True).start()
