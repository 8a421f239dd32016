"""``finetui demo``: the whole path, offline, with the embedded base model and data."""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path
from typing import Any

import click
import msgspec

from ..core.embedded import BASE_MODEL_NAME, HELD_OUT_PROMPTS, QUICK_SETTINGS, dataset
from ..core.inference import Playground
from ..core.runs.requests import free_name, merge_request, start, train_request
from ..core.runs.store import Run
from ..hub.transfer import pull_request, push_request
from .command import App, command
from .output import narrate, size, write_json
from .watch import error_of, finish, watch

STYLES = ("pirate", "json")


@command("demo")
@click.option("--tui", is_flag=True, help="Start the first training and open its dashboard.")
def demo(app: App, tui: bool) -> None:
    """Train two adapters, swap between them, merge one, publish it to a folder hub and pull it back.

    Everything is real, small and offline; the same commands work on your models.
    """
    began = time.monotonic()
    if tui:
        from ..tui.app import run_app

        run = _start(app, STYLES[0])
        click.get_current_context().exit(run_app(app.home, app.settings, open_run=run.spec.run))
    report: dict[str, Any] = {"home": str(app.home.root), "model": BASE_MODEL_NAME}
    report["adapters"] = {style: _train(app, style, number) for number, style in enumerate(STYLES, 1)}
    report["answers"] = _swap(app, report["adapters"])
    report["merge"] = _merge(app, report["adapters"][STYLES[0]])
    report["push"], report["pull"] = _publish(app, report["adapters"][STYLES[0]]["name"])
    report["seconds"] = round(time.monotonic() - began, 1)
    if app.json:
        return write_json(report)
    _next_steps(app, report)


def _step(title: str) -> None:
    narrate(f"\n{title}")


def _start(app: App, style: str) -> Run:
    request = train_request(
        app.home, model=BASE_MODEL_NAME, data=[dataset(style)], eval_data=[dataset(f"{style}_eval")], method="lora",
        settings=QUICK_SETTINGS, name=free_name(app.home, f"demo-{style}"), gpus=app.settings.gpus,
    )  # fmt: skip
    return start(app.home, "train", request.name, request)


def _train(app: App, style: str, number: int) -> dict[str, Any]:
    _step(f"{number}. Training a LoRA adapter on {dataset(style).name}: the run is a process of its own, this is only a view of it")
    run = _start(app, style)
    watch(app, run, quiet=True)
    row = run.summary()
    if row["state"] != "succeeded":
        raise error_of(run)
    narrate(
        f"   {row['name']}: {row['steps']} steps, loss {row['loss']:.3f}, evaluation loss {row['eval']['loss']:.3f}, "
        f"{row['trainable_parameters']:,} of {row['total_parameters']:,} parameters trained, {row['tokens_per_second']:,.0f} tokens/s"
    )
    return {key: row[key] for key in ("name", "run", "adapter", "loss", "eval", "steps", "trainable_parameters")}


def _swap(app: App, adapters: dict[str, Any]) -> list[dict[str, Any]]:
    """The same held-out prompts to the base and both adapters, on one loaded base."""
    _step("3. The same prompts, which no adapter was trained on; one base in memory, adapters swapped on it")
    names = [row["name"] for row in adapters.values()]
    answers = []
    with Playground(app.home, BASE_MODEL_NAME, names, gpus=app.settings.gpus, what="demo") as playground:
        for prompt in HELD_OUT_PROMPTS[:3]:
            narrate(f"   {prompt}")
            for name in (None, *names):
                row = playground.generate(prompt, adapter=name, max_new_tokens=64)
                narrate(f"     {name or 'base':<14} {row.text}   (swap {row.swap_seconds * 1000:.2f} ms)")
                answers.append({"prompt": prompt, **msgspec.to_builtins(row)})
    return answers


def _merge(app: App, adapter: dict[str, Any]) -> dict[str, Any]:
    _step(f"4. Merging {adapter['name']} into the base, and checking that the merged model says the same")
    out = app.home.models / free_name(app.home, f"{adapter['name']}-merged")
    request = merge_request(app.home, model=BASE_MODEL_NAME, adapter=adapter["name"], out=out, verify=True, gpus=app.settings.gpus)
    result = finish(app, app.home, "merge", f"merge-{adapter['name']}", request) or {}
    proof = result["verified"]
    narrate(f"   {result['out']} ({size(result['bytes'])})")
    narrate(f"   verified on {proof['tokens']} tokens: the same next token {proof['greedy_agreement']:.0%} of the time, "
            f"logits within {proof['max_rel_diff']:.1%} (what rounding to the base's bfloat16 costs)")  # fmt: skip
    return result


def _publish(app: App, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
    _step("5. Publishing to a folder hub, and pulling it back")
    repo = f"demo/{name}"
    request = push_request(app.home, name, repo, hub="folder", private=True, settings=app.settings)
    pushed = finish(app, app.home, "push", f"push-{name}", request) or {}
    back = pull_request(app.home, repo, hub="folder", name=free_name(app.home, f"{name}-pulled"), settings=app.settings)
    pulled = finish(app, app.home, "pull", f"pull-{name}", back) or {}
    same = app.catalog.adapter(name).digest == app.catalog.adapter(back.name).digest
    narrate(f"   {pushed['url']} at {pushed['revision'][:12]}; pulled as {back.name}, weights {'identical' if same else 'DIFFERENT'}")
    return pushed, {**pulled, "name": back.name, "identical": same}


def _next_steps(app: App, report: dict[str, Any]) -> None:
    first, second = (report["adapters"][style]["name"] for style in STYLES)
    program = "finetui" if shutil.which("finetui") else sys.argv[0]
    where = "" if app.home_option is None else f" --home {app.home.root}"
    click.echo(
        f"""
Done in {report["seconds"]:.0f} s. Everything lies in {app.home.root}
  adapters   {Path(report["adapters"][STYLES[0]]["adapter"]).parent}
  merged     {report["merge"]["out"]}
  runs       {app.home.runs}

Next:
  {program}{where}       opens the screen: runs, catalog, chat
  {program} chat{where} --model {BASE_MODEL_NAME} --adapter {first} --adapter {second}
  {program} runs list{where}
  {program} train{where} --model FOLDER --data FILE.jsonl --method lora"""
    )
