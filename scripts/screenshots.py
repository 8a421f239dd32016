"""Makes the pictures in docs/screenshots: the real app on a real home, with real runs of the embedded model.

    python scripts/screenshots.py [--only NAME] [--home DIR]

Everything happens in a scratch folder. It trains two adapters (a few minutes on two cores), keeps them for the next call when
``--home`` names a folder that stays, and drives the app through Textual's pilot.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from finetui.core.compare.asking import Question, compare_request
from finetui.core.config import Settings
from finetui.core.embedded import BASE_MODEL_NAME, HELD_OUT_PROMPTS, dataset
from finetui.core.paths import Home
from finetui.core.runs.requests import start, train_request
from finetui.core.runs.spec import ACTIVE
from finetui.core.runs.store import RunStore
from finetui.tui.app import FineTuiApp
from textual.pilot import Pilot

PICTURES = Path(__file__).resolve().parent.parent / "docs" / "screenshots"
SETTINGS: dict[str, Any] = {"learning_rate": 3e-3, "per_device_train_batch_size": 16, "eval_steps": 20}
WIDE, NARROW = (120, 36), (80, 24)


def train(home: Home, style: str, steps: int, *, name: str = "", **settings: Any) -> str:
    """Start a training run on one of the embedded datasets; returns its id."""
    data = Path.cwd() / f"{style}.jsonl"
    shutil.copy(dataset(style), data)
    request = train_request(
        home, model=BASE_MODEL_NAME, data=[data], eval_data=[dataset(f"{style}_eval")], method="lora", name=name or style,
        settings={**SETTINGS, "max_steps": steps, "sample_prompts": list(HELD_OUT_PROMPTS[:2]), **settings},
    )  # fmt: skip
    return start(home, "train", request.name, request).id


def compare(home: Home) -> str:
    """Start a comparison of five methods on one of the embedded datasets; returns its id."""
    question = Question(
        model=BASE_MODEL_NAME, data=[Path.cwd() / "pirate.jsonl"], eval_data=[dataset("pirate_eval")], name="which",
        methods=["full", "lora", "adapter", "prefix_tuning", "bitfit"],
        settings={"max_steps": 60, "per_device_train_batch_size": 16, "lora:learning_rate": 3e-3, "adapter:learning_rate": 3e-3},
    )  # fmt: skip
    return start(home, "compare", *compare_request(home, question)).id


def wait(home: Home, run_id: str) -> None:
    """Wait for a run to end well."""
    run = RunStore(home).get(run_id)
    while run.state().state in ACTIVE:
        time.sleep(0.5)
    if run.state().state != "succeeded":
        raise SystemExit(f"{run.spec.name} is {run.state().state}: {run.state().error}")


async def see(pilot: Pilot[int], condition: Callable[[], Any], seconds: float = 120.0) -> None:
    """Wait until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit("waited too long for the screen")
        await pilot.pause(0.1)
    await pilot.pause(0.6)


def shows(pilot: Pilot[int], *words: str) -> Callable[[], bool]:
    """A condition: these words are on the screen."""

    def check() -> bool:
        text = "\n".join(strip.text for strip in pilot.app.screen._compositor.render_strips())
        return all(word in text for word in words)

    return check


def save(app: FineTuiApp, name: str) -> None:
    """Write the picture, without fonts from elsewhere and without paths of this machine."""
    picture = re.sub(r"@font-face\s*\{[^}]*\}", "", app.export_screenshot(title="FineTUI"))
    picture = picture.replace("Fira Code", "DejaVu Sans Mono")
    for word in (str(Path(__file__).resolve().parent.parent), sys.prefix, sys.base_prefix):
        if word in picture:
            raise SystemExit(f"{name}: the picture would show {word!r}")
    PICTURES.mkdir(parents=True, exist_ok=True)
    (PICTURES / f"{name}.svg").write_text("\n".join(line.rstrip() for line in picture.splitlines() if line.strip()) + "\n")
    print(f"{name}.svg")


async def say(pilot: Pilot[int], text: str) -> None:
    """Put a text into the line in focus and send it."""
    pilot.app.focused.value = text  # type: ignore[union-attr]
    await pilot.press("enter")


async def first_start(pilot: Pilot[int], app: FineTuiApp) -> None:
    await see(pilot, shows(pilot, "Nothing has run yet"))
    save(app, "first-start")


async def new_run(pilot: Pilot[int], app: FineTuiApp) -> None:
    app.new_run(model=BASE_MODEL_NAME)
    await see(pilot, shows(pilot, "New run"))
    screen: Any = app.screen
    screen.answers.data = [str(Path.cwd() / "pirate.jsonl")]
    screen.answers.settings = {"r": 32, "learning_rate": 3e-3, "per_device_train_batch_size": 16, "max_steps": 240}
    screen._read_data()
    screen._rebuild(cursor="method.r")
    await see(pilot, shows(pilot, "fits", "320 rows"))
    save(app, "new-run")


async def running(pilot: Pilot[int], app: FineTuiApp) -> None:
    row = next(row for row in app.rows if row.active)
    app.show_run(row.id)
    await see(pilot, shows(pilot, "running", "ETA"))
    await pilot.press("right_square_bracket")
    await see(pilot, lambda: app.screen.facts.step > 60, 600)  # type: ignore[attr-defined]
    save(app, "run")
    await pilot.resize_terminal(*NARROW)
    await see(pilot, lambda: True)
    save(app, "run-80x24")


async def home(pilot: Pilot[int], app: FineTuiApp) -> None:
    await see(pilot, shows(pilot, "Running", "Finished", "ETA"))
    save(app, "home")


async def catalog(pilot: Pilot[int], app: FineTuiApp) -> None:
    await pilot.press("2")
    await see(pilot, shows(pilot, "pirate", "json"))
    screen: Any = app.screen
    screen.lines.choose(next(key for key, entry in screen.entries.items() if entry.name == "pirate"))
    await see(pilot, shows(pilot, "base digest", "metrics"))
    save(app, "catalog")


async def chat(pilot: Pilot[int], app: FineTuiApp) -> None:
    await pilot.press("3")
    await see(pilot, shows(pilot, "loaded in", "pirate", "json"))
    screen: Any = app.screen
    for prompt, marked in (
        (HELD_OUT_PROMPTS[0], ["base"]),
        (HELD_OUT_PROMPTS[5], ["pirate", "json"]),
        (HELD_OUT_PROMPTS[12], ["pirate", "json"]),
    ):
        paths = {Path(adapter.path).name: adapter.path for adapter in screen.shelf.adapters} | {"base": ""}
        screen.roster.marked = [paths[name] for name in marked]
        screen.show_voices()
        screen.query_one("#message").focus()
        await say(pilot, prompt)
        await see(pilot, lambda: not screen.busy)
    save(app, "chat")


async def push(pilot: Pilot[int], app: FineTuiApp) -> None:
    from finetui.tui.screens.transfers import PushDialog

    app.push_screen(PushDialog(str(app.home.adapters / "pirate")))
    await see(pilot, shows(pilot, "README.md", "private"))
    save(app, "push")


async def comparison(pilot: Pilot[int], app: FineTuiApp) -> None:
    await pilot.press("4")
    await see(pilot, shows(pilot, "lora", "adapter", "eval loss"))
    save(app, "compare")


async def keys(pilot: Pilot[int], app: FineTuiApp) -> None:
    await pilot.press("question_mark")
    await see(pilot, shows(pilot, "Keys"))
    save(app, "help")


async def picture(home_folder: Path, scene: Callable[[Pilot[int], FineTuiApp], Awaitable[None]], size: tuple[int, int] = WIDE) -> None:
    """Open the app on a home and let a scene play."""
    app = FineTuiApp(Home(home_folder).create(), Settings(default_hub="folder"))
    app.machine_line = "two cores"
    async with app.run_test(size=size) as pilot:
        await see(pilot, lambda: app.runs_known)
        await scene(pilot, app)


async def play(root: Path, only: str) -> None:
    """All scenes, in the order in which their facts come to be."""
    place = Home(root / "home").create()
    finished = {run.spec.name for run in RunStore(place).list("train") if run.state().state == "succeeded"}
    for style in ("pirate", "json"):
        if style not in finished:
            wait(place, train(place, style, 120))
    shutil.copy(dataset("pirate"), root / "pirate.jsonl")
    if only in ("", "comparison") and not RunStore(place).list("compare"):
        wait(place, compare(place))
    for scene in (new_run, catalog, chat, push, comparison, keys):
        if only in ("", scene.__name__):
            await picture(place.root, scene)
    if only in ("", "first_start"):
        await picture(root / "empty", first_start)
    if only in ("", "running", "home"):
        run_id = train(place, "pirate", 400, name=f"pirate-r32-{len(RunStore(place).list())}", r=32)
        try:
            await picture(place.root, running)
            await picture(place.root, home)
        finally:
            _end(place, run_id)


def _end(place: Home, run_id: str) -> None:
    from finetui.core.runs.control import stop

    run = RunStore(place).get(run_id)
    stop(run, now=True)
    while run.state().state in ACTIVE:
        time.sleep(0.2)
    RunStore(place).remove(run)


def main() -> None:
    """Parse the command line and make the pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", default="", help="one scene: new_run, catalog, chat, push, comparison, keys, first_start, running")
    parser.add_argument("--home", default="", help="scratch folder that stays")
    options = parser.parse_args()
    root = Path(options.home or tempfile.mkdtemp(prefix="finetui-")).absolute()
    root.mkdir(parents=True, exist_ok=True)
    os.chdir(root)
    os.environ.update(TERM="xterm-256color", COLORTERM="truecolor")
    asyncio.run(play(root, options.only))
    if not options.home:
        shutil.rmtree(root)


if __name__ == "__main__":
    sys.exit(main())
