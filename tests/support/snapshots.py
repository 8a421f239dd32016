"""Pictures of whole screens, as text and as SVG, compared with the files in ``tests/tui/snapshots``.

A test takes the fixture ``stage``: a home, a configuration and a machine that look the same everywhere::

    @pytest.mark.parametrize("size", SIZES)
    async def test_home(stage: Stage, size: tuple[int, int]) -> None:
        make_run(stage.home, "good")
        async with opened(stage.home, size) as pilot:
            await until_painted(pilot, "good")
            await stage.compare(pilot, "home-full")          # home-full-80x24.txt and .svg

On the stage the clock stands at `NOW`, run ids count up, the machine is called ``gpu-07`` and has the devices `DEVICES`, and paths
begin with ``/tmp/finetui-snapshot``. What else differs between machines (versions, timings, this machine's hardware) the test
replaces itself. After a change that is meant, write the files anew and look at their difference before committing::

    python -m pytest tests/tui/test_snapshots.py --update-snapshots
"""

from __future__ import annotations

import difflib
import io
import itertools
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from finetui.core import fsio
from finetui.core.devices import Device
from finetui.core.runs import records
from finetui.core.runs.store import Run
from rich.console import Console
from rich.segment import Segment, Segments
from rich.style import Style
from support.tui import make_run, painted
from textual.pilot import Pilot

FOLDER = Path(__file__).resolve().parent.parent / "tui" / "snapshots"
NOW = datetime(2026, 3, 14, 9, 26, 53, tzinfo=UTC)
DEVICES = (
    Device(
        kind="cuda", vendor="nvidia", id="0", uuid="GPU-0", name="NVIDIA H200", memory_total=150_000_000_000, memory_free=101_800_000_000,
        utilisation=91, temperature=61, power=612, compute_capability=(9, 0),
    ),
    Device(
        kind="cpu", id="cpu", uuid="cpu", name="a CPU", memory_total=64_000_000_000, memory_free=48_000_000_000, utilisation=12, cores=16,
    ),
)  # fmt: skip

_PATH = re.compile(r"/tmp/finetui-([a-z0-9_]{1,8})")
"""What `tempfile` makes of the stage's folder; its eight letters are replaced one by one, so that nothing moves."""


class _FrozenClock(datetime):
    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return NOW


class Stage:
    """See the module. Attributes: ``home`` is the home directory, ``root`` the folder that it and ``config.toml`` lie in."""

    def __init__(self, root: Path, *, update: bool) -> None:
        self.root, self.home, self.update = root, root / "home", update

    async def compare(self, pilot: Pilot[Any], name: str) -> None:
        """Compare what is painted with the files of ``name`` and the screen's size, or write them with ``--update-snapshots``."""
        size = pilot.app.size
        stem = f"{name}-{size.width}x{size.height}"
        await _settled(pilot)
        text, picture = _frozen(painted(pilot.app)) + "\n", _svg(pilot)  # type: ignore[arg-type]
        if self.update:
            FOLDER.mkdir(exist_ok=True)
            (FOLDER / f"{stem}.txt").write_text(text)
            (FOLDER / f"{stem}.svg").write_text(picture)
            return
        _same(text, FOLDER / f"{stem}.txt")
        _same(picture, FOLDER / f"{stem}.svg")


async def _settled(pilot: Pilot[Any]) -> None:
    """Wait until nothing moves any more."""
    before, deadline = "", time.monotonic() + 10
    while (now := painted(pilot.app)) != before and time.monotonic() < deadline:  # type: ignore[arg-type]
        before = now
        await pilot.pause(0.3)


def _frozen(text: str) -> str:
    return _PATH.sub(lambda found: "/tmp/finetui-" + "snapshot"[: len(found[1])], text)


def _svg(pilot: Pilot[Any]) -> str:
    """A picture as Rich draws it, without fonts from elsewhere, the clipping of every line, and the identity that Rich gives each picture.

    Cells of one look are drawn as one: where Textual cuts a line depends on what was painted when.
    """
    size = pilot.app.size
    console = Console(
        width=size.width, height=size.height, file=io.StringIO(), force_terminal=True, color_system="truecolor", record=True,
        legacy_windows=False, safe_box=False,
    )  # fmt: skip
    for strip in pilot.app.screen._compositor.render_strips():
        cells = [Segment(segment.text, (segment.style or Style()).clear_meta_and_links()) for segment in strip]
        console.print(Segments([*Segment.simplify(cells), Segment.line()]), end="")
    picture = re.sub(r"@font-face\s*\{[^}]*\}", "", console.export_svg(title="FineTUI"))
    picture = re.sub(r'<clipPath id="[^"]*-line-\d+">.*?</clipPath>| clip-path="[^"]*-line-\d+\)"', "", picture, flags=re.DOTALL)
    picture = re.sub(r"terminal-\d+", "terminal", picture)
    return _frozen("\n".join(line.strip() for line in picture.splitlines() if line.strip()) + "\n")


def _same(found: str, file: Path) -> None:
    again = "look at it, and write it anew with --update-snapshots if it is meant"
    assert file.exists(), f"{file.name} is not there yet: {again}"
    expected = file.read_text()
    if found != expected:
        lines = difflib.unified_diff(expected.splitlines(), found.splitlines(), file.name, "on the screen", lineterm="", n=2)
        said = "\n".join(line[:300] for line in itertools.islice(lines, 60))
        pytest.fail(f"{file.name} differs from the screen: {again}\n{said}", pytrace=False)


@contextmanager
def staged(monkeypatch: pytest.MonkeyPatch, *, update: bool) -> Iterator[Stage]:
    """The stage, for the fixture of that name; removed in the end."""
    root = Path(tempfile.mkdtemp(prefix="finetui-", dir="/tmp"))
    numbers = itertools.count(1)
    machine = os.uname_result(("Linux", "gpu-07", "6.1.0", "#1 SMP", "x86_64"))
    monkeypatch.setattr("finetui.core.runs.store.new_ulid", lambda: f"01KKMZ8VC{next(numbers):017d}")
    monkeypatch.setattr("finetui.core.runs.store.datetime", _FrozenClock)
    monkeypatch.setattr("finetui.core.devices.sample", lambda **_: list(DEVICES))
    monkeypatch.setattr("finetui.core.devices.list_devices", lambda **_: list(DEVICES))
    monkeypatch.setattr(os, "uname", lambda: machine)
    for name, value in (("HOME", root / "home"), ("CONFIG", root / "config.toml")):
        monkeypatch.setenv(f"FINETUI_{name}", str(value))
    monkeypatch.setenv("HF_HOME", str(root / "hf"))
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    try:
        yield Stage(root, update=update)
    finally:
        monkeypatch.delenv("TZ")
        time.tzset()
        shutil.rmtree(root, ignore_errors=True)


@contextmanager
def running(home: Path, name: str, steps: int = 40, total: int = 120) -> Iterator[Run]:
    """A run in the middle of its work that nobody finds dead: this process holds its lock, and nothing moves."""
    run = make_run(home, name, "running", steps=steps, total=total)
    lock = fsio.FileLock(records.lock_file(run.dir))
    assert lock.acquire()
    try:
        yield run
    finally:
        lock.release()
