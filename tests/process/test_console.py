"""What a run prints: the log is kept short while it is written to, and whoever reads it sees every line once."""

from __future__ import annotations

from itertools import pairwise

from finetui.core.runs import console
from finetui.core.runs.follow import follow
from support.runs import Toys, wait_for_end

STEPS, PRINTS = 60, 3000
"""About 18 MB, which is two rotations."""


def numbers(lines: list[str]) -> list[int]:
    """The numbers of the lines that the toy job printed, which must be whole."""
    assert all(len(line) == 102 for line in lines), [line for line in lines if len(line) != 102][:3]
    return [int(line[5:10]) * PRINTS + int(line[16:21]) for line in lines]


def test_a_log_that_grows_is_rotated_and_read_across_the_cut(toys: Toys) -> None:
    run = toys.start(steps=STEPS, pause=0.1, prints=PRINTS)  # slowly enough for a supervisor and a reader on a busy machine
    followed = numbers([line for update in follow(run, interval=0.05) for line in update.log_lines])
    assert wait_for_end(run).state == "succeeded"
    assert (run.dir / "console.log").stat().st_size < 2 * console.LIMIT
    assert console.LIMIT < (run.dir / "console.1.log").stat().st_size < 2 * console.LIMIT
    assert sorted(path.name for path in run.dir.glob("*console*")) == ["console.1.log", "console.log"]

    assert all(later > earlier for earlier, later in pairwise(followed)), "each line once, in order"
    assert followed[-1] == STEPS * PRINTS + PRINTS - 1
    assert len(followed) >= STEPS * PRINTS - 4, "a cut loses a line at most"

    everything = numbers(console.LogReader(run.dir, None).read())
    assert everything[-1] == followed[-1] and len(everything) > console.LIMIT // 103
    assert all(later > earlier for earlier, later in pairwise(everything))
    assert numbers(console.tail(run.dir, 3).splitlines()) == everything[-3:]


def test_the_last_words_are_found_right_after_a_rotation(toys: Toys) -> None:
    run = toys.start(do="exit")
    assert wait_for_end(run).state == "failed"
    before = console.tail(run.dir)
    tail = console.LogReader(run.dir, 8)
    console.rotate(run.dir, limit=1)
    assert (run.dir / "console.log").stat().st_size == 0
    assert "about to leave" in console.tail(run.dir) and console.tail(run.dir) == before
    assert tail.read() == [before[-7:]]
    assert console.LogReader(run.dir, None).read() == before.splitlines()
