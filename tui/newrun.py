"""The form of a new run as data: its fields, and what is typed into them as `Answers`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from ..core.api import Task
from ..core.embedded import dataset, dataset_names
from ..core.errors import UsageError
from ..core.paths import check_name
from ..core.training import TrainingOptions
from .answers import Answers
from .widgets.fields import Field, changed_values, option_fields


def fields_of(answers: Answers, plugins: Mapping[str, Any], objectives: Sequence[str]) -> list[Field]:
    """All rows of the form: the answers, the start button, the options of every method, the loop's.

    Args:
        plugins: by name, those that are trained; none where one does not load.
    """
    training = option_fields(TrainingOptions, answers.training_settings(), "training")
    known = {row.label for row in training}
    own = [row for name, plugin in plugins.items() if plugin for row in _own_fields(answers, name, plugin) if row.label not in known]
    first = plugins.get(answers.method)
    for row in training:
        if row.label == "learning_rate" and row.value is None and first is not None:
            row.note = "each method's own default" if answers.comparing else f"{first.learning_rate:g}, the default of {answers.method}"
    return [*answer_fields(answers, first, objectives), *own, *training]


def _own_fields(answers: Answers, name: str, plugin: Any) -> list[Field]:
    heading = f"Options of {name}"
    rows = option_fields(plugin.options, answers.own_settings(name), _owner(answers, name), heading)
    for row in rows:
        row.group = heading
    return rows


def _owner(answers: Answers, method: str) -> str:
    """What the keys of a method's fields begin with."""
    return f"{method}:" if answers.comparing else "method"


def answer_fields(answers: Answers, plugin: Any, objectives: Sequence[str]) -> list[Field]:
    """The rows above the options, and the seldom used ones below the start button."""
    data = ", ".join(map(_file, answers.data))
    several = ", ".join(answers.methods)
    return [
        Field("model", "model", "pick", answers.model, help="The base model: from the catalog, or any model folder."),
        Field("data", "data", "pick", data, help="What it learns from: JSON, JSONL, CSV, Parquet or text."),
        Field(
            "method", "method", "pick", several or answers.method,
            help="Compared: the same data, seed and steps for each, then one table." if several
            else f"{plugin.summary} {plugin.good_for}".strip() if plugin else "How it learns.",
            note=f"{len(answers.methods)} compared" if several else plugin.good_for if plugin else "",
        ),
        Field(
            "task", "task", "choice", answers.task or None, choices=get_args(Task), optional=True,
            help="causal-lm writes text, seq-cls tells labels apart; auto: seq-cls for encoders and classifiers, else causal-lm.",
        ),
        Field(
            "name", "name", "str", answers.name, default="", check=name_error,
            note="" if answers.name else "made from the model" if several else "made from model and method",
            help="Of the comparison; results are NAME-METHOD." if several
            else "Of the result in the catalog; empty: made from model and method.",
        ),
        Field("gpus", "device", "pick", answers.gpus, help="Where it runs: auto takes the GPU with most free memory, else the CPU."),
        *([_seeds_field(answers)] if several else []),
        Field(
            "start", "Compare" if several else "Start", "button",
            help="Checks everything, then trains one after another (one on each GPU), and evaluates all on the same rows." if several
            else "Checks everything, then starts the run, or lets it wait for a GPU; it goes on when the screen is left. w queues it.",
        ),
        *_seldom_fields(answers, objectives),
    ]  # fmt: skip


def _seeds_field(answers: Answers) -> Field:
    return Field(
        "seeds", "seeds", "int", answers.seeds, default=1, type_name="int from 1 to 100",
        help="Trains each method with so many seeds: figures get a mean and a spread.",
        check=lambda value: "" if 1 <= value <= 100 else "from 1 to 100; 3 shows the spread",
    )  # fmt: skip


def _seldom_fields(answers: Answers, objectives: Sequence[str]) -> list[Field]:
    """Answers that have a good default."""

    def split(value: Any) -> str:
        return "" if 0 <= value < 1 else "at least 0 and below 1"

    rows = [
        Field(
            "eval_data", "eval_data", "pick", ", ".join(map(_file, answers.eval_data)), advanced=not answers.eval_data,
            help="Evaluation data; empty: a part of the data is set aside.",
        ),
        Field(
            "eval_split", "eval_split", "float", answers.eval_split, default=0.1, advanced=True, check=split,
            type_name="float from 0 below 1", help="Share of the data set aside for evaluation where there is no evaluation data.",
        ),
        Field(
            "objective", "objective", "choice", answers.objective or None, choices=tuple(objectives), optional=True, advanced=True,
            help="What is learned: sft learns answers, text every token, classify labels; auto: by the shape of the data.",
        ),
        Field(
            "columns", "columns", "dict", answers.columns, default={}, advanced=True, type_name="name=value, …",
            help="Renames columns of the data: prompt=question, response=answer, label=stars.",
        ),
        Field("seed", "seed", "int", answers.seed, default=0, help="Of everything random.", advanced=True, type_name="int"),
    ]  # fmt: skip
    if answers.comparing:
        return rows
    return [
        *rows,
        Field(
            "split_seed", "split_seed", "int", answers.split_seed, default=None, optional=True, advanced=True, type_name="int",
            help="Of the rows set aside for evaluation; auto: seed.",
        ),
        Field(
            "share_gpu", "share_gpu", "bool", answers.share_gpu, default=False, advanced=True, type_name="on or off",
            help="Use a GPU beside other runs that share it, as far as the planned memory allows.",
        ),
        Field(
            "priority", "priority", "int", answers.priority, default=0, advanced=True, type_name="int",
            help="In the queue, where the run waits if its GPU is taken; those with more come first.",
        ),
    ]  # fmt: skip


def name_error(value: Any) -> str:
    """Why a text cannot name something in the catalog; empty when it can, or is empty."""
    try:
        check_name(str(value) or "empty")
    except UsageError as problem:
        return problem.message
    return ""


def read_answers(fields: list[Field], answers: Answers) -> None:
    """Take what was typed back into the answers; paths and picks are there already."""
    values = {row.key: row.value for row in fields}
    for name in ("name", "eval_split", "seed", "seeds", "split_seed", "share_gpu", "priority"):
        if name in values:
            setattr(answers, name, values[name])
    answers.task, answers.objective, answers.columns = values["task"] or "", values["objective"] or "", dict(values["columns"])
    answers.settings = changed_values(fields, "training")
    for method in answers.methods or [answers.method]:
        prefix = f"{method}:" if answers.comparing else ""
        own = changed_values(fields, _owner(answers, method))
        answers.settings |= {prefix + name: value for name, value in own.items()}


def first_error(fields: list[Field]) -> str:
    """The first field that cannot be used, in words; empty when all can."""
    for row in fields:
        if row.error and row.kind != "button":
            return f"{row.label}: {row.error}"
    return ""


def short_path(path: str) -> str:
    """A path the short way: the name of built-in data, relative to the working or the home directory."""
    if Path(path).parent == dataset_folder():
        return f"{Path(path).stem} (built in)"
    for base, mark in ((Path.cwd(), ""), (Path.home(), "~/")):
        try:
            return mark + str(Path(path).relative_to(base))
        except ValueError:
            continue
    return path


def _file(path: str) -> str:
    """A data file in a field: its name alone where the path is too long to leave room for what is said of it."""
    short = short_path(path)
    return short if len(short) <= 32 else Path(path).name


def dataset_folder() -> Path:
    """Where the built-in data lies."""
    return dataset(dataset_names()[0]).parent


def data_choices(embedded: Mapping[str, Path], folder: Path) -> list[tuple[str, str, str]]:
    """(path, label, note) of the built-in data and of data files in and one level below a folder."""
    found = [(str(path), name, "built in") for name, path in embedded.items() if not name.endswith("_eval")]
    try:
        places = [folder, *sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))][:40]
    except OSError:
        return found
    for place in places:
        try:
            files = sorted(file for file in place.iterdir() if is_data_file(file) and not file.name.startswith("."))
        except OSError:
            continue
        found += [(str(file), str(file.relative_to(folder)), "") for file in files[:50]]
    return found


def is_data_file(path: Path) -> bool:
    """Whether a path can be chosen as data."""
    from ..core.data.reading import EXTENSIONS

    return path.suffix.lower() in EXTENSIONS and path.is_file()


def is_model_folder(path: Path) -> bool:
    """Whether a path can be chosen as a model."""
    return (path / "config.json").is_file()
