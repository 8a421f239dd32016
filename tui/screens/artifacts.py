"""What can be done with runs and their results, the same from Home, the catalog and a run's dashboard."""

from __future__ import annotations

from pathlib import Path

from ..watching import RunRow
from .base import Working


class ArtifactActions(Working):
    """Mixed into views: stop, delete, chat, merge and push, with the reasons why not."""

    def result_problem(self, row: RunRow) -> str:
        """Why a run has no adapter to chat with, merge or publish; empty when it has one."""
        if row.kind != "train":
            return f"{row.name} is a {row.kind} run, it trained nothing"
        if row.active:
            return f"{row.name} is still {row.state}"
        if not row.result or not Path(row.result).exists():
            return f"{row.name} has no result ({row.state})" + (": R resumes it" if row.state == "stopped" else "")
        return ""

    def stop_run(self, run_id: str, *, now: bool = False) -> None:
        """Ask a run to stop."""
        from .. import backend

        waits = any(row.id == run_id and row.state == "queued" for row in self.app.rows)

        def told(name: str) -> None:
            asked = f"{name} is asked to stop" + ("" if now else "; it writes a checkpoint first")
            self.app.notify(f"{name} waits no more" if waits else asked)
            self.app.look_again()

        self.work(lambda: backend.stop_run(self.app.home, run_id, now=now), told)

    def delete_run(self, row: RunRow) -> None:
        """Remove a run's directory, after asking."""
        from .. import backend
        from .messages import ConfirmDialog

        def answered(yes: bool | None) -> None:
            if yes:
                self.work(lambda: backend.remove_run(self.app.home, row.id), lambda _: self.app.look_again())

        detail = f"{row.id}\nIts log, metrics and checkpoints go. What it made stays in the catalog."
        self.app.push_screen(ConfirmDialog(f"Delete run {row.name}?", detail, "Delete the run"), answered)

    def open_merge(self, model: str, adapter: str) -> None:
        """The merge dialog."""
        from .transfers import MergeDialog

        self.app.push_screen(MergeDialog(model, adapter))

    def open_push(self, adapter: str) -> None:
        """The push dialog."""
        from .transfers import PushDialog

        self.app.push_screen(PushDialog(adapter))
