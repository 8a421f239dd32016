"""Driving the screen in tests: real homes, real run files, and the text that is painted."""

from __future__ import annotations

import json
import math
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from finetui.core import fsio
from finetui.core.config import Settings
from finetui.core.embedded import BASE_MODEL_NAME, base_model_dir, dataset
from finetui.core.paths import Home
from finetui.core.runs.spec import Event, Result, TrainRequest
from finetui.core.runs.store import Run, RunStore
from finetui.tui.app import FineTuiApp
from finetui.tui.keymap import Keymap
from finetui.tui.theme import DARK, FALLBACK_VARIABLES
from textual.app import App
from textual.pilot import Pilot
from textual.widgets import Input

SIZES = [(60, 20), (80, 24), (120, 40)]


def painted(app: App[Any]) -> str:
    """What is on the screen, as text."""
    return "\n".join(strip.text.rstrip() for strip in app.screen._compositor.render_strips())


class BareApp(App[None]):
    """An app with nothing but our colours and keys, for single widgets."""

    def __init__(self) -> None:
        super().__init__()
        self.keymap = Keymap()
        self.register_theme(DARK)
        self.theme = DARK.name

    def get_theme_variable_defaults(self) -> dict[str, str]:
        """Our greys are known before the theme is."""
        return FALLBACK_VARIABLES


@asynccontextmanager
async def opened(home: Path, size: tuple[int, int] = (120, 40), **settings: Any) -> AsyncIterator[Pilot[int]]:
    """The app on a home, started and painted."""
    app = FineTuiApp(Home(home).create(), Settings(**settings))
    async with app.run_test(size=size, notifications=True) as pilot:
        await until(pilot, lambda: app.runs_known, what="the first look at the runs")
        yield pilot


async def until(pilot: Pilot[int], condition: Callable[[], Any], seconds: float = 20.0, what: str = "") -> Any:
    """Wait for a condition, letting the app work meanwhile."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited {seconds} s for {what or condition}; on screen:\n{painted(pilot.app)}"  # type: ignore[arg-type]
        await pilot.pause(0.05)
    return value


async def until_painted(pilot: Pilot[int], *words: str, seconds: float = 20.0) -> str:
    """Wait until all of these words are on the screen; returns the whole text."""
    app: FineTuiApp = pilot.app  # type: ignore[assignment]
    await until(pilot, lambda: all(word in painted(app) for word in words), seconds, f"{words}")
    return painted(app)


async def type_text(pilot: Pilot[int], text: str) -> None:
    """Type a text: into a line of input at once, as a paste is, else key by key."""
    if isinstance(pilot.app.focused, Input):
        pilot.app.focused.insert_text_at_cursor(text)
        await pilot.pause()
        return
    names = {" ": "space", "?": "question_mark", "/": "slash", ".": "full_stop", "-": "minus", "_": "underscore", "=": "equals_sign"}
    for character in text:
        await pilot.press(names.get(character, character))


def loss_at(step: int) -> float:
    """The loss that `make_run` writes."""
    return 1.0 + 2.0 * math.exp(-step / 40)


def metric_line(step: int, **changes: Any) -> dict[str, Any]:
    """A line of ``metrics.jsonl`` as the training loop writes it."""
    return {
        "time": 1_700_000_000.0 + step * 0.5, "attempt": 1, "step": step, "loss": loss_at(step), "learning_rate": 2e-4, "grad_norm": 0.5,
        "tokens": step * 900, "tokens_per_second": 1800.0, "step_seconds": 0.5, "data_seconds": 0.005, "memory_bytes": 600_000_000,
        "peak_memory_bytes": 700_000_000, **changes,
    }  # fmt: skip


def make_run(
    home: Path, name: str, state: str = "succeeded", *, steps: int = 100, total: int = 100, error: dict[str, str] | None = None
) -> Run:
    """A training run's directory with real files, written through the real store and writers."""
    place = Home(home).create()
    request = TrainRequest(
        model=BASE_MODEL_NAME, model_path=str(base_model_dir()), base_model_name_or_path=BASE_MODEL_NAME, data=[str(dataset("pirate"))],
        method="lora", name=name, output=str(place.adapters / name), planned_memory_bytes=900_000_000, method_options={"r": 8},
    )  # fmt: skip
    run = RunStore(place).create("train", name, request)
    record = run.state()
    record.state, record.started, record.devices, record.error = state, 1_700_000_000.0, ["cpu"], error  # type: ignore[assignment]
    record.finished = None if state == "running" else 1_700_000_000.0 + steps * 0.5
    fsio.write_json(run.dir / "state.json", record)
    with fsio.JsonlWriter(run.dir / "events.jsonl") as events, fsio.JsonlWriter(run.dir / "metrics.jsonl") as metrics:
        facts = {"total_steps": total, "trainable_parameters": 1000, "total_parameters": 50_000}
        events.append(Event(seq=1, time=1_700_000_000.0, kind="prepared", message="320 examples", data=facts))
        for step in range(1, steps + 1):
            metrics.append(metric_line(step))
            if step % 50 == 0:
                metrics.append({"time": 1_700_000_000.0, "attempt": 1, "step": step, "eval_loss": 1.5})
                events.append(
                    Event(seq=step + 1, time=1.7e9, kind="sample", message="", data={"step": step, "prompt": "Hi?", "text": "Arr!"})
                )
    (run.dir / "console.log").write_text("\x1b[31mloading the base\x1b[0m\nprogress 1\rprogress 2\n")
    if state == "succeeded":
        make_lora(place.adapters / name)
        result = {"adapter": str(place.adapters / name), "eval": {"loss": 1.5}, "steps": steps}
        fsio.write_json(run.dir / "result.json", Result(state="succeeded", attempt=1, finished=1.7e9, result=result))
    return run


def make_lora(folder: Path, rank: int = 4, scale: float = 0.0) -> Path:
    """A LoRA adapter of the embedded base, written without torch; random by ``scale``."""
    import numpy
    from safetensors.numpy import save_file

    config = json.loads((base_model_dir() / "config.json").read_text())
    size, layers = config["hidden_size"], config["num_hidden_layers"]
    source = numpy.random.default_rng(0)
    tensors = {}
    for layer in range(layers):
        stem = f"base_model.model.model.layers.{layer}.self_attn.q_proj"
        tensors[f"{stem}.lora_A.weight"] = source.normal(size=(rank, size)).astype("float32")
        tensors[f"{stem}.lora_B.weight"] = (source.normal(size=(size, rank)) * scale).astype("float32")
    folder.mkdir(parents=True, exist_ok=True)
    save_file(tensors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": BASE_MODEL_NAME, "r": rank, "lora_alpha": 8,
        "target_modules": ["q_proj"], "lora_dropout": 0.0, "bias": "none", "inference_mode": True,
    }  # fmt: skip
    (folder / "adapter_config.json").write_text(json.dumps(settings))
    return folder
