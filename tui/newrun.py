"""The form of a new run as data: its fields, the settings they stand for, and the command that does the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, get_args

import msgspec

from ..core.api import Task
from ..core.embedded import dataset, dataset_names
from ..core.errors import UsageError
from ..core.paths import check_name
from ..core.training import TrainingOptions
from .widgets.fields import Field, changed_values, option_fields


@dataclass
class Answers:
    """What a run is made of, before it is checked; a `TrainRequest` in the user's own words.

    Attributes:
        task: empty: what model and columns say.
        share_gpu: use a GPU beside others that share it.
        priority: in the queue.
        settings: training and method options in one mapping, those that differ from the defaults.
    """

    model: str = ""
    data: list[str] = field(default_factory=list)
    eval_data: list[str] = field(default_factory=list)
    method: str = "lora"
    name: str = ""
    gpus: str = "auto"
    eval_split: float = 0.1
    task: str = ""
    objective: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    share_gpu: bool = False
    priority: int = 0
    settings: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of_request(cls, request: Mapping[str, Any]) -> Answers:
        """The answers that led to an earlier run's request; the name is left open, it is taken."""
        return cls(
            model=request.get("model", ""), data=list(request.get("data", [])), eval_data=list(request.get("eval_data", [])),
            method=request.get("method", "lora"), gpus=request.get("gpus", "auto"), eval_split=request.get("eval_split", 0.1),
            task=request.get("task", ""), objective=request.get("objective", ""), columns=dict(request.get("columns", {})),
            seed=request.get("seed", 0), share_gpu=request.get("share_gpu", False),
            settings={**request.get("training_options", {}), **request.get("method_options", {})},
        )  # fmt: skip

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `core.runs.requests.train_request`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name != "priority"}

    def command(self) -> str:
        """The equivalent command line."""
        words = ["finetui", "train", "--model", self.model or "MODEL"]
        for path in self.data or ["FILE"]:
            words += ["--data", path]
        for path in self.eval_data:
            words += ["--eval-data", path]
        words += ["--method", self.method]
        for flag, value, usual in (
            ("--name", self.name, ""), ("--gpus", self.gpus, "auto"), ("--eval-split", self.eval_split, 0.1), ("--seed", self.seed, 0),
            ("--task", self.task, ""), ("--objective", self.objective, ""),
            ("--priority", self.priority, 0), ("--columns", ",".join(f"{k}={v}" for k, v in self.columns.items()), ""),
        ):  # fmt: skip
            if value != usual:
                words += [flag, str(value)]
        if self.share_gpu:
            words.append("--share-gpu")
        for name, value in self.settings.items():
            words += ["--set", f"{name}={toml_text(value)}"]
        return shlex.join(words)


def toml_text(value: Any) -> str:
    """A value as ``--set`` reads it (TOML; a bare word is a string)."""
    if isinstance(value, str):
        return value if value and value.replace("_", "").replace("-", "").isalpha() else msgspec.json.encode(value).decode()
    if isinstance(value, Mapping):
        return (
            "{"
            + ", ".join(
                f"{key} = {toml_text(item) if not isinstance(item, str) else msgspec.json.encode(item).decode()}"
                for key, item in value.items()
            )
            + "}"
        )
    return msgspec.json.encode(value).decode()


def fields_of(answers: Answers, plugin: Any, objectives: Sequence[str]) -> list[Field]:
    """All rows of the form: the answers, the start button, the method's options, the loop's."""
    heading = f"Options of {answers.method}"
    own = {row.key.split(".", 1)[1] for row in option_fields(plugin.options, {}, "method")} if plugin is not None else set()
    training = option_fields(TrainingOptions, {k: v for k, v in answers.settings.items() if k not in own}, "training")
    known = {row.label for row in training}
    method = [row for row in option_fields(plugin.options, answers.settings, "method", heading) if row.label not in known] if plugin else []
    for row in method:
        row.group = heading
    for row in training:
        if row.label == "learning_rate" and plugin is not None and row.value is None:
            row.note = f"{plugin.learning_rate:g}, the default of {answers.method}"
    return [*answer_fields(answers, plugin, objectives), *method, *training]


def answer_fields(answers: Answers, plugin: Any, objectives: Sequence[str]) -> list[Field]:
    """The rows above the options."""

    def split(value: Any) -> str:
        return "" if 0 <= value < 1 else "at least 0 and below 1"

    data, evaluation = (", ".join(_short(path) for path in paths) for paths in (answers.data, answers.eval_data))
    return [
        Field("model", "model", "pick", answers.model, help="The base model: from the catalog, or any model folder."),
        Field("data", "data", "pick", data, help="What it learns from: JSON, JSONL, CSV, Parquet or text."),
        Field(
            "method", "method", "pick", answers.method,
            help=f"{plugin.summary} {plugin.good_for}".strip() if plugin else "How it learns.", note=getattr(plugin, "title", ""),
        ),
        Field(
            "task", "task", "choice", answers.task or None, choices=get_args(Task), optional=True,
            help="causal-lm writes text, seq-cls tells labels apart; auto: seq-cls for encoders and classifiers, else causal-lm.",
        ),
        Field(
            "name", "name", "str", answers.name, default="", note="" if answers.name else "made from model and method",
            help="Of the result in the catalog; empty: made from model and method.", check=name_error,
        ),
        Field("gpus", "device", "pick", answers.gpus, help="Where it runs: auto takes the GPU with most free memory, else the CPU."),
        Field(
            "start", "Start", "button",
            help="Checks everything, then starts the run, or lets it wait for a GPU; it goes on when the screen is left. w queues it.",
        ),
        Field(
            "eval_data", "eval_data", "pick", evaluation, advanced=not answers.eval_data,
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
            help="Renames columns of the data: prompt=question, response=answer.",
        ),
        Field("seed", "seed", "int", answers.seed, default=0, help="Of everything random.", advanced=True, type_name="int"),
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
    answers.name, answers.eval_split, answers.seed = values["name"], values["eval_split"], values["seed"]
    answers.share_gpu, answers.priority = values["share_gpu"], values["priority"]
    answers.task, answers.objective, answers.columns = values["task"] or "", values["objective"] or "", dict(values["columns"])
    answers.settings = {**changed_values(fields, "training"), **changed_values(fields, "method")}


def split_changed(fields: list[Field]) -> tuple[dict[str, Any], dict[str, Any]]:
    """(training options, method options) that differ from the defaults, as the planner takes them."""
    return changed_values(fields, "training"), changed_values(fields, "method")


def first_error(fields: list[Field]) -> str:
    """The first field that cannot be used, in words; empty when all can."""
    for row in fields:
        if row.error and row.kind != "button":
            return f"{row.label}: {row.error}"
    return ""


def _short(path: str) -> str:
    """A path the short way: the name of built-in data, relative to the working or the home directory."""
    if Path(path).parent == dataset_folder():
        return f"{Path(path).stem} (built in)"
    for base, mark in ((Path.cwd(), ""), (Path.home(), "~/")):
        try:
            return mark + str(Path(path).relative_to(base))
        except ValueError:
            continue
    return path


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
