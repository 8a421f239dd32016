"""From what a person asks to compare to what the comparison does: every method resolved and checked before any trains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

import msgspec

from .. import registry
from ..api import Task
from ..catalog.catalog import Catalog
from ..catalog.names import name_in_use
from ..devices import select
from ..errors import NameTaken, Refused, UsageError, closest, error_from_dict
from ..options import describe, respelt
from ..paths import Home, check_name
from ..planner.reading import read_model
from ..planner.tasks import choose_task
from ..registry import BrokenPlugin
from ..runs.requests import evaluate_request, train_request
from ..runs.spec import CompareEntry, CompareRequest, TrainRequest
from ..training import TrainingOptions

SPEED_TOKENS = 32
"""Tokens generated for each prompt when generation speed is measured."""

_EVALUATION_OPTIONS = ("max_length", "per_device_eval_batch_size", "loss_on", "system_prompt")


@dataclass(frozen=True)
class Question:
    """What is to be compared, in the user's own words.

    Attributes:
        methods: names of methods; ``label=method`` puts one method into the table several times.
        task: none: see `planner.tasks.choose_task`.
        settings: as ``--set`` takes them: ``key`` for every method that has such an option, ``label:key`` for one.
        seeds: how many; they count up from ``seed``.
    """

    model: str
    data: Sequence[str | Path]
    methods: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""
    task: Task | None = None
    objective: str = ""
    columns: Mapping[str, str] = field(default_factory=dict)
    eval_data: Sequence[str | Path] = ()
    eval_split: float = 0.1
    seed: int = 0
    seeds: int = 1
    gpus: str = "auto"


def compare_request(home: Home, question: Question) -> tuple[str, CompareRequest]:
    """Check and resolve a comparison without starting it.

    A method that cannot train this model, or does not fit, becomes an entry with its error: the others are compared all the same.

    Returns:
        The comparison's name and its request.

    Raises:
        FineTUIError: what would make every training fail (see `train_request`), an unknown method or option, a name that is
            taken, or no method that can be trained.
    """
    if not 1 <= question.seeds <= 100:
        raise UsageError(f"--seeds is {question.seeds}; it must be between 1 and 100", "3 shows the spread")
    if not question.eval_data and not question.eval_split > 0:
        raise UsageError("there would be nothing to compare on", "give --eval-data FILE, or an --eval-split above 0")
    model = Catalog(home).model(question.model)
    task = question.task or choose_task(read_model(Path(model.path)), question.columns)
    question = replace(question, task=task)
    labels = read_methods(question.methods)
    settings = divide_settings(labels, question.settings)
    name = _comparison_name(home, question, labels)
    entries = [entry for label in labels for entry in _entries(home, question, name, label, labels[label], settings[label])]
    if all(entry.error for entry in entries):
        raise error_from_dict(entries[0].error or {})
    select(question.gpus)
    trained = next(entry.request for entry in entries if entry.request)
    shared = {key: value for key, value in respelt(TrainingOptions, question.settings).items() if key in _EVALUATION_OPTIONS}
    evaluation = evaluate_request(
        home, model=question.model, data=question.eval_data or question.data, columns=question.columns, task=task,
        objective=question.objective, settings=shared,
    )  # fmt: skip
    evaluation = msgspec.structs.replace(
        evaluation, held_out=0.0 if question.eval_data else question.eval_split, split_seed=question.seed,
        speed_tokens=SPEED_TOKENS, keep_going=True,
    )  # fmt: skip
    return name, CompareRequest(
        model=trained["model"], model_path=model.path, data=trained["data"], task=task, entries=entries,
        evaluation=msgspec.to_builtins(evaluation), devices=question.gpus,
    )  # fmt: skip


def read_methods(words: Sequence[str]) -> dict[str, str]:
    """Labels and the methods they stand for: ``["lora", "big=lora"]`` → ``{"lora": "lora", "big": "lora"}``.

    Raises:
        UsageError: none is named, or two have one label.
        NotFound: no such method.
    """
    labels: dict[str, str] = {}
    for word in words:
        label, equals, method = word.strip().partition("=")
        method = method.strip() if equals else label
        label = check_name(label.strip()) if equals else label
        if label in labels:
            raise UsageError(f"'{label}' is named twice in --methods", f"give each a label of its own: {label},{label}-2={method}")
        registry.load("methods", method)
        labels[label] = method
    if not labels:
        raise UsageError("no method to compare", "for example --methods lora,qlora,full")
    return labels


def divide_settings(labels: Mapping[str, str], settings: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What ``--set`` means for each label: shared keys go to every method that knows them, ``label:key`` to one and over these.

    Raises:
        UsageError: a label or a key that nobody knows.
    """
    loop = {row.name for row in describe(TrainingOptions)}
    own = {label: {row.name for row in describe(registry.load("methods", method).options)} for label, method in labels.items()}
    divided: dict[str, dict[str, Any]] = {label: {} for label in labels}
    settings = respelt(TrainingOptions, settings)
    for key, value in settings.items():
        label, _, name = key.rpartition(":")
        if label:
            continue
        knowing = [known for known in labels if name in loop | own[known]]
        if not knowing:
            everything = loop.union(*own.values())
            raise UsageError(f"no method of this comparison has an option '{name}'", closest(name, everything, "option"))
        for known in knowing:
            divided[known][name] = value
    for key, value in settings.items():
        label, _, name = key.rpartition(":")
        if label and label not in labels:
            raise UsageError(f"--set {key}: '{label}' is not in --methods", closest(label, labels, "method"))
        if label:
            divided[label][name] = value  # an unknown key is refused with the method's own words when the request is made
    return divided


def _entries(home: Home, question: Question, name: str, label: str, method: str, settings: Mapping[str, Any]) -> list[CompareEntry]:
    """One entry a seed; the first is checked thoroughly, the others differ in nothing that is checked."""
    seeds = range(question.seed, question.seed + question.seeds)
    names = [result_name(name, label, seed, question.seeds) for seed in seeds]
    try:
        first = train_request(
            home, model=question.model, data=question.data, method=method, settings=settings, name=names[0], task=question.task,
            objective=question.objective, columns=question.columns, eval_data=question.eval_data, eval_split=question.eval_split,
            seed=question.seed, split_seed=question.seed, gpus=question.gpus,
        )  # fmt: skip
    except NameTaken:
        raise
    except (Refused, BrokenPlugin) as refusal:
        error = refusal.to_dict()
        return [CompareEntry(method=method, label=label, seed=seed, name=word, error=error) for seed, word in zip(seeds, names)]
    folder = Path(first.output).parent
    requests = [msgspec.structs.replace(first, seed=seed, name=word, output=str(folder / word)) for seed, word in zip(seeds, names)]
    return [CompareEntry(method=method, label=label, seed=r.seed, name=r.name, request=msgspec.to_builtins(r)) for r in requests]


def result_name(name: str, label: str, seed: int, seeds: int) -> str:
    """Name of one training's run and result: ``NAME-LABEL``, with several seeds ``NAME-LABEL-sN``."""
    stem = f"{name}-{label}".replace(":", "-")
    return f"{stem}-s{seed}" if seeds > 1 else stem


def _comparison_name(home: Home, question: Question, labels: Mapping[str, str]) -> str:
    """The name asked for, or the first one made of the model's of which every result's name is free.

    Raises:
        NameTaken: a result's name is in use.
    """

    def taken(name: str) -> str:
        for label in labels:
            for seed in range(question.seed, question.seed + question.seeds):
                word = check_name(result_name(name, label, seed, question.seeds))
                user = name_in_use(home, word)
                if user:
                    return f"the name '{word}' is taken by {user}"
        return ""

    if question.name:
        problem = taken(check_name(question.name))
        if problem:
            raise NameTaken(problem, "choose another --name, or remove the old one first")
        return question.name
    stem = f"{Path(Catalog(home).model(question.model).name).name or 'model'}-compare"
    return next(name for number in count(1) if not taken(name := stem if number == 1 else f"{stem}-{number}"))


def train_request_of(entry: CompareEntry, gpus: str) -> TrainRequest:
    """The training of an entry, on the device that it is given."""
    return msgspec.structs.replace(msgspec.convert(entry.request, TrainRequest), gpus=gpus)
