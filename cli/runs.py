"""``finetui runs``: list, watch, stop and resume."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import click

from ..core.compare.past import runs_table
from ..core.compare.table import table_of
from ..core.errors import UsageError
from ..core.runs import control
from ..core.runs.follow import Follower
from ..core.runs.follow import follow as updates_of
from ..core.runs.launch import resume as resume_run
from ..core.runs.meters import summarise
from ..core.runs.spec import JOB_MODULES, State, effective_request
from ..core.runs.store import Run
from ..core.tomltext import write_file
from .command import App, group, subcommand
from .comparison import comparison_outcome, print_comparison, save
from .confirm import confirmed
from .output import details, narrate, plain, size, spark, table, write_json
from .watch import outcome, watch

_COLUMNS = [
    ("run", "run"), ("name", "name"), ("kind", "kind"), ("method", "method"), ("state", "state"), ("progress", "steps>"), ("loss", "loss>"),
    ("tokens_per_second", "tokens/s>"), ("created", "created"),
]  # fmt: skip


@group()
def runs() -> None:
    """List, watch, stop and resume runs."""


@subcommand(runs, "list")
@click.option("--kind", type=click.Choice(list(JOB_MODULES)), default=None, help="Only runs of this kind.")
@click.option("--state", type=click.Choice(get_args(State)), default=None, help="Only runs in this state.")
def list_runs(app: App, kind: str | None, state: str | None) -> None:
    """Every run, newest first."""
    rows = [run.summary() for run in app.runs.list(kind or "")]
    rows = [row for row in rows if not state or row["state"] == state]
    if app.json:
        return write_json(rows)
    for row in (rows := _families(rows)):
        row["progress"] = f"{row['steps']}/{row['total_steps']}" if row.get("total_steps") else ""
        row["created"] = row["created"][:16].replace("T", " ")
        row["state"] = ", ".join(filter(None, (row["state"], row["trouble"])))
    table(rows, _COLUMNS, empty="no runs yet: finetui train --help, or finetui demo")


def _families(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Runs that another run started stand below it, indented, in the order they were started."""
    listed = {row["run"] for row in rows}
    children: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        if row["parent"] in listed:
            children.setdefault(row["parent"], []).insert(0, {**row, "name": f"  {row['name']}"})
    return [one for row in rows if row["parent"] not in listed for one in (row, *children.get(row["run"], []))]


@subcommand(runs, "show")
@click.argument("run")
@click.option("--toml", is_flag=True, help="Print the file that reproduces the run (finetui train -c FILE).")
def show(app: App, run: str, toml: bool) -> None:
    """One run: what it does, how far it is, its figures."""
    found = app.runs.get(run)
    if toml:
        return click.echo(reproduction(found), nl=False)
    summary = {**found.summary(), "meters": summarise(found.meters())}
    if app.json:
        return write_json(summary)
    if found.spec.kind != "compare":
        return details({**summary, "meters": {device["id"]: _meter(device) for device in summary["meters"]}})
    details({**summary, "result": None, "meters": None})
    print_comparison(table_of(app.runs, found))


def _meter(device: Mapping[str, Any]) -> str:
    """What a device did during the run, in a line."""
    parts = [
        f"{device['utilisation']:.0f} % busy" if device["utilisation"] is not None else "",
        f"at most {size(device['peak_memory_bytes'])} of {size(device['memory_total'])}" if device["memory_total"] else "",
        f"at most {device['temperature']:.0f} °C" if device["temperature"] is not None else "",
        f"{device['power']:.0f} W" if device["power"] is not None else "",
        device["problem"],
        spark([reading["utilisation"] for reading in device["history"] if reading["utilisation"] is not None]),
    ]
    return ", ".join(part for part in parts if part)


def reproduction(run: Run) -> str:
    """The TOML that `finetui train -c` reads to repeat a training run.

    Raises:
        UsageError: the run is of another kind.
    """
    if run.spec.kind != "train":
        raise UsageError(f"run {run.spec.run} is a {run.spec.kind} run", "--toml is for training runs")
    request = effective_request(run.spec, run.state())
    keys = ("model", "data", "eval_data", "eval_split", "columns", "task", "objective", "method", "seed", "split_seed", "gpus", "share_gpu")
    values: dict[str, Any] = {key: request[key] for key in keys if request.get(key) not in (None, "", [], {})}
    if not values.get("share_gpu"):
        values.pop("share_gpu", None)
    values["set"] = {**request["training_options"], **request["method_options"]}
    return write_file(values)


@subcommand(runs, "logs")
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on as the run does.")
@click.option("-n", "--lines", type=click.IntRange(min=0), default=0, help="Only the last N lines.")
def logs(app: App, run: str, follow: bool, lines: int) -> None:
    """What the run printed."""
    found = app.runs.get(run)
    if follow:
        for update in updates_of(found):
            for line in update.log_lines:
                _print_line(app, line)
        return
    known = Follower(found).poll().log_lines
    for line in known[-lines:] if lines else known:
        _print_line(app, line)


def _print_line(app: App, line: str) -> None:
    if app.json:
        write_json({"line": line})
    else:
        click.echo(line)


@subcommand(runs, "metrics")
@click.argument("run")
@click.option("-f", "--follow", is_flag=True, help="Go on as the run does.")
def metrics(app: App, run: str, follow: bool) -> None:
    """Metric lines, as JSON Lines under --json."""
    found = app.runs.get(run)
    for rows in (update.metrics for update in updates_of(found)) if follow else [found.metrics()]:
        for row in rows:
            if app.json or not sys.stdout.isatty():
                write_json(row)
            else:
                click.echo("  ".join(f"{key} {plain(value)}" for key, value in row.items()))


@subcommand(runs, "follow")
@click.argument("run")
def follow(app: App, run: str) -> None:
    """Watch a run until it ends; Ctrl-C only stops watching."""
    found = app.runs.get(run)
    watch(app, found)
    _tell_end(app, found)


@subcommand(runs, "stop")
@click.argument("run")
@click.option("--now", is_flag=True, help="Do not wait for the end of the step.")
@click.option("--wait/--no-wait", default=True, help="Return when the run has ended.")
def stop(app: App, run: str, now: bool, wait: bool) -> None:
    """Ask a run to save a checkpoint and stop."""
    found = app.runs.get(run)
    control.stop(found, now=now)
    if wait:
        for _ in updates_of(found):
            pass
    _say_state(app, found)


@subcommand(runs, "checkpoint")
@click.argument("run")
def checkpoint(app: App, run: str) -> None:
    """Ask a running run to save a checkpoint now."""
    found = app.runs.get(run)
    control.checkpoint_now(found)
    _say_state(app, found)


@subcommand(runs, "resume")
@click.argument("run")
@click.option("--follow/--detach", "following", default=None, help="Watch it, or return at once; default: watch on a terminal.")
def resume(app: App, run: str, following: bool | None) -> None:
    """Go on from the newest checkpoint; the run keeps its id."""
    found = app.runs.get(run)
    resume_run(found)
    if following is None:
        following = sys.stderr.isatty()
    if following:
        watch(app, found)
        return _tell_end(app, found)
    _say_state(app, found)


@subcommand(runs, "compare")
@click.argument("names", nargs=-1, required=True, metavar="RUN...")
@click.option("--export", "target", type=click.Path(path_type=Path), default=None, help="Write the table to a .md, .csv or .json file.")
def compare(app: App, names: tuple[str, ...], target: Path | None) -> None:
    """One comparison, or several training runs, in one table, with the options that differ."""
    table = runs_table(app.runs, [app.runs.get(name) for name in names])
    save(table, target)
    if app.json:
        return write_json(table)
    print_comparison(table)


@subcommand(runs, "remove")
@click.argument("run")
@click.option("--yes", is_flag=True, help="Do not ask.")
def remove(app: App, run: str, yes: bool) -> None:
    """Delete a run's directory, checkpoints and log; its adapter stays."""
    found = app.runs.get(run)
    confirmed(app, f"delete the run {found.id} ({found.spec.name}) with its checkpoints and log?", yes)
    app.runs.remove(found)
    if app.json:
        write_json({"removed": found.id})
    else:
        narrate(f"removed run {found.id}")


def _tell_end(app: App, run: Run) -> None:
    """How a run that was followed has ended: a comparison with its table."""
    return comparison_outcome(app, run) if run.spec.kind == "compare" else outcome(app, run)


def _say_state(app: App, run: Run) -> None:
    row = run.summary()
    if app.json:
        write_json(row)
    else:
        narrate(f"{row['name']} ({row['run']}): {row['state']}")
