"""The comparison job: ``python -m finetui.core.compare.job RUN_DIR``. It computes nothing itself.

Every training, and the evaluation at the end, is an ordinary run with a supervisor and a lease of its own, whose ``parent`` is
this run. What has been done is read from those runs, so that nothing is remembered here: a comparison that is resumed, or whose
job was killed, finds its children and goes on with what is missing.
"""

from __future__ import annotations

import contextlib
import time
from dataclasses import dataclass, field
from typing import Any

import msgspec

from ..devices import select
from ..errors import FineTUIError, Refused, WorkFailed
from ..fsio import is_locked
from ..runs import control, records
from ..runs.adopt import refresh
from ..runs.follow import Follower
from ..runs.job import Job, Stopped, run_job
from ..runs.launch import launch, resume
from ..runs.spec import ACTIVE, CompareEntry, CompareRequest, EvaluateRequest, RunKind
from ..runs.store import Run, RunStore
from .asking import train_request_of
from .table import compare_table, evaluation_of

POLL_SECONDS = 0.3


def main(job: Job) -> dict[str, Any]:
    """Train, evaluate, and return the table (see `table.compare_table`).

    Raises:
        Stopped: on request; the children are stopped too, and ``resume`` goes on with them.
        WorkFailed: no method could be trained.
        FineTUIError: the error of the evaluation.
    """
    return Comparison(job).run()


@dataclass
class _Child:
    """A run that is under way, and how far it is."""

    run: Run
    label: str
    place: str
    follower: Follower
    step: int = 0
    total: int = 0
    unit: str = "steps"

    def look(self) -> str:
        """Read what is new; returns the state."""
        state = refresh(self.run).state
        update = self.follower.poll()
        for event in update.events:
            if event.kind == "prepared":
                self.total = event.data.get("total_steps", self.total)
            elif event.kind == "progress":
                self.step, self.total, self.unit = event.data["done"], event.data["total"], event.data["unit"]
        self.step = next((line["step"] for line in reversed(update.metrics) if "loss" in line), self.step)
        return state


@dataclass
class Comparison:
    """One comparison under way."""

    job: Job
    running: list[_Child] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.request = self.job.request(CompareRequest)
        self.store = RunStore(self.job.home)
        self.me = Run(self.job.dir, self.job.spec)
        self.total_steps = 0
        """Of one training; all have the same number."""

    def run(self) -> dict[str, Any]:
        """Everything; returns the table."""
        try:
            self.train()
            self.evaluate()
        except Stopped:
            raise Stopped(compare_table(self.store, self.me)) from None
        except BaseException:
            self.ask_to_stop()
            raise
        return compare_table(self.store, self.me)

    # Training ---------------------------------------------------------------------------------------------------------

    def train(self) -> None:
        """Run every entry that has not succeeded yet, as many at once as there are devices for.

        Raises:
            Stopped: on request, all children ended.
            WorkFailed: nothing could be trained.
        """
        places = self._places()
        waiting = [entry for entry in self.request.entries if not entry.error]
        self.job.event("prepared", f"{len(waiting)} trainings, {len(places)} at once", trainings=len(waiting), at_once=len(places))
        for entry in self.request.entries:
            if entry.error and self.job.attempt == 1:
                self.job.event("warning", f"{entry.label} is left out: {entry.error['message']}")
        known = self._children()
        ended = [entry for entry in waiting if self._state(known.get(entry.name)) == "succeeded"]
        waiting = [entry for entry in waiting if entry not in ended]
        done, count = len(ended), len(waiting) + len(ended)
        while waiting or self.running:
            while waiting and len(self.running) < len(places):
                free = next(place for place in places if places.count(place) > sum(child.place == place for child in self.running))
                self._start(waiting.pop(0), free, known)
            done += self._wait()
            self._report(done, count)
        if not any(self._state(run) == "succeeded" for run in self._children().values()):
            raise self._nothing_trained()

    def _places(self) -> list[str]:
        """What ``--gpus`` to give to each training that runs at the same time as others."""
        gpus = [device for device in select(self.request.devices) if device.kind == "cuda"]
        if not gpus:
            return ["none"]
        return ["auto"] * len(gpus) if self.request.devices == "auto" else [device.uuid for device in gpus]

    def _children(self) -> dict[str, Run]:
        """The trainings there are, by name."""
        return {run.spec.name: run for run in self.store.children(self.me) if run.spec.kind == "train"}

    def _start(self, entry: CompareEntry, place: str, known: dict[str, Run]) -> None:
        run = known.get(entry.name)
        if run is None:
            run = self._create("train", entry.name, train_request_of(entry, place))
        self._begin(run, entry.label, place)

    def _create(self, kind: RunKind, name: str, request: msgspec.Struct) -> Run:
        return self.store.create(kind, name, request, parent=self.me.id)

    def _begin(self, run: Run, label: str, place: str) -> None:
        """Make a child run, whatever state an earlier attempt left it in."""
        state = self._state(run)
        if state == "queued":
            launch(run)
        elif state not in ACTIVE:
            _let_go(run)
            resume(run)
        now, what = run.state(), "goes on" if state != "queued" else "starts"
        said = now.reason if now.state == "queued" else what  # where its GPU is taken
        self.job.event("child", f"{run.spec.name} {said}", run=run.id, name=run.spec.name, state="running")
        self.running.append(_Child(run, label, place, Follower(run, log_tail=0)))

    def _wait(self) -> int:
        """One look at the children that run; returns how many have ended."""
        if self.job.stop_requested():
            self.stop_children()
            raise Stopped
        time.sleep(POLL_SECONDS)
        ended = [child for child in self.running if self._look(child) not in ACTIVE]
        for child in ended:
            self.running.remove(child)
            self._tell(child)
        return len(ended)

    def _look(self, child: _Child) -> str:
        """The child's state; one whose folder is gone is lost."""
        try:
            state = child.look()
        except (FineTUIError, OSError):
            return "lost"
        self.total_steps = max(self.total_steps, child.total)
        return state

    def _tell(self, child: _Child) -> None:
        """An event about a child that has ended."""
        name, state = child.run.spec.name, self._state(child.run)
        row = child.run.summary() if state else {}
        loss = (row.get("eval") or {}).get("loss") if child.run.spec.kind == "train" else None
        why = f": {row['reason']}" if row.get("reason") and state != "succeeded" else ""
        said = f", evaluation loss {loss:.4f}" if isinstance(loss, float) and state == "succeeded" else why
        self.job.event("child", f"{name} {state or 'is gone'}{said}", run=child.run.id, name=name, state=state or "lost")

    def _report(self, done: int, count: int) -> None:
        """How far all trainings are together, counted in steps: each has the same number of them."""
        if self.total_steps and self.running:
            under_way = sum(child.step for child in self.running)
            names = ", ".join(child.label for child in self.running)
            self.job.progress(done * self.total_steps + under_way, count * self.total_steps, f"steps ({names})")

    def _nothing_trained(self) -> FineTUIError:
        for entry in self.request.entries:
            run = self._children().get(entry.name)
            error = entry.error or (run.state().error if run else None)
            if error:
                return WorkFailed(f"no method could be trained; {entry.label}: {error['message']}", error.get("hint", ""))
        return WorkFailed("no method could be trained: every training was stopped or lost", f"finetui runs resume {self.me.id}")

    @staticmethod
    def _state(run: Run | None) -> str:
        """State of a child, made true first; empty where there is none."""
        if run is None:
            return ""
        try:
            return refresh(run).state
        except (FineTUIError, OSError):
            return ""

    # Evaluation -------------------------------------------------------------------------------------------------------

    def evaluate(self) -> None:
        """Evaluate the base and every result on the same rows, in one child run.

        Raises:
            Stopped: on request.
            FineTUIError: the evaluation failed; resuming tries it again.
        """
        request = self._evaluation()
        run = evaluation_of(self.store.children(self.me))
        if run is None or run.spec.request["adapters"] != request.adapters:
            run = self._create("evaluate", f"{self.me.spec.name}-eval", request)
        if self._state(run) == "succeeded":
            return
        self._begin(run, "evaluation", request.gpus)
        while self.running:
            child = self.running[0]
            self._wait()
            if child.total:
                self.job.progress(child.step, child.total, f"{child.unit} evaluated")
        state = run.state()
        if state.state != "succeeded":
            error = state.error or {"message": state.reason or state.state, "hint": ""}
            raise WorkFailed(f"the evaluation has {state.state}: {error['message']}", f"finetui runs resume {self.me.id} tries it again")

    def _evaluation(self) -> EvaluateRequest:
        children = self._children()
        adapters = []
        for entry in self.request.entries:
            run = children.get(entry.name)
            result = run.result() if run is not None and self._state(run) == "succeeded" else None
            if result is not None and result.result.get("adapter"):
                adapters.append({"name": entry.name, "path": result.result["adapter"]})
        base = msgspec.convert(self.request.evaluation, EvaluateRequest)
        return msgspec.structs.replace(base, adapters=adapters, gpus=self._places()[0])

    # Stopping ---------------------------------------------------------------------------------------------------------

    def ask_to_stop(self) -> None:
        """Pass the request to stop on to every child that runs."""
        now = records.is_requested(self.me.dir, records.STOP_NOW)
        for child in self.running:
            with contextlib.suppress(Refused):
                control.stop(child.run, now=now)

    def stop_children(self) -> None:
        """Stop the children and wait for their ends; each saves a checkpoint unless all is to stop now."""
        self.ask_to_stop()
        hurried = False
        while any(self._look(child) in ACTIVE for child in self.running):
            if not hurried and records.is_requested(self.me.dir, records.STOP_NOW):
                hurried = True
                self.ask_to_stop()
            time.sleep(POLL_SECONDS)
        for child in self.running:
            self._tell(child)
        self.running.clear()


def _let_go(run: Run) -> None:
    """Wait a moment for the supervisor of a run that has just ended to leave."""
    deadline = time.monotonic() + 5.0
    while is_locked(records.lock_file(run.dir)) and time.monotonic() < deadline:
        time.sleep(0.05)


if __name__ == "__main__":
    run_job(main)
