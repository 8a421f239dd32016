"""The queue on the screen: what waits and why, moving it, pausing, cancelling, and putting a new run into it."""

from __future__ import annotations

from pathlib import Path

from finetui.core.paths import Home
from finetui.core.runs.launch import launch
from finetui.core.runs.queue import Queue
from finetui.tui.screens.new_run import NewRunScreen
from support.runs import Toys, toys_in, wait_for_end
from support.tui import opened, painted, until, until_painted


def waiting(toys: Toys, *names: str) -> Queue:
    """A paused queue with runs in it."""
    queue = Queue(toys.store.home)
    queue.pause()
    for name in names:
        launch(toys.create(name, steps=1), queue=True)
    return queue


async def test_what_waits_stands_in_order_and_can_be_moved_held_back_and_cancelled(tmp_path: Path) -> None:
    with toys_in(tmp_path / "home") as toys:
        queue = waiting(toys, "first", "second", "third")
        async with opened(tmp_path / "home") as pilot:
            await until_painted(pilot, "Waiting, the queue is paused", "1. the queue is paused", "1 in the queue")
            await pilot.pause(0.3)
            text = painted(pilot.app)  # type: ignore[arg-type]
            assert text.index("⧗ first") < text.index("⧗ second") < text.index("⧗ third")
            await pilot.press("K")
            await pilot.press("J")
            await until(pilot, lambda: [one.run.spec.name for one in queue.waiting()] == ["second", "first", "third"])
            await until(pilot, lambda: painted(pilot.app).index("second") < painted(pilot.app).index("⧗ first"))  # type: ignore[arg-type]
            await pilot.press("s")
            await until_painted(pilot, "first waits no more", "■ first", "stopped")
            await pilot.press("P")
            await until_painted(pilot, "the queue goes on")
            await until_painted(pilot, "✔ second", "✔ third", seconds=30)
            await pilot.press("K")
            await until_painted(pilot, "does not wait in the queue")
        states = {run.spec.name: wait_for_end(run).state for run in toys.runs}
        assert states == {"first": "stopped", "second": "succeeded", "third": "succeeded"}


async def test_the_dashboard_says_what_a_run_waits_for(tmp_path: Path) -> None:
    with toys_in(tmp_path / "home") as toys:
        waiting(toys, "patient")
        async with opened(tmp_path / "home") as pilot:
            await until_painted(pilot, "⧗ patient")
            await pilot.press("enter")
            await until_painted(pilot, "patient", "queued", "in the queue")


async def test_a_new_run_can_be_queued(tmp_path: Path) -> None:
    queue = Queue(Home(tmp_path / "home").create())
    queue.pause()
    async with opened(tmp_path / "home") as pilot:
        await until_painted(pilot, "Fine-tune the built-in model")
        await pilot.press("enter")
        await until_painted(pilot, "New run")
        screen = pilot.app.screen
        assert isinstance(screen, NewRunScreen)
        await until(pilot, lambda: screen.plan is not None and screen.rows, what="the price")
        screen.form.set("priority", 3)
        screen.form.set("share_gpu", True)
        await until_painted(pilot, "--priority 3", "--share-gpu")
        await pilot.press("w")
        await until_painted(pilot, "queued", "in the queue", seconds=40)
    (one,) = queue.waiting()
    assert (one.entry.priority, one.run.spec.request["share_gpu"], one.run.state().state) == (3, True, "queued")
