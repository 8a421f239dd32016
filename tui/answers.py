"""What a new run, or a comparison of methods, is made of; and the command and the file that ask for the same."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from ..core.config import Settings
from ..core.options import describe
from ..core.tomltext import read_value, write_file, write_value
from ..core.training import TrainingOptions

if TYPE_CHECKING:
    from ..core.compare.asking import Question


@dataclass
class Answers:
    """What is to be trained, before it is checked, in the user's own words.

    Attributes:
        method: the one that is trained, or the first of those that are compared.
        methods: those that are compared; empty: one run is wanted.
        task: empty: what model and columns say.
        share_gpu: use a GPU beside others that share it.
        priority: in the queue.
        seeds: with which each method of a comparison is trained.
        settings: training and method options in one mapping, those that differ from the defaults; of a comparison as ``--set``
            takes them: a method's own are ``method:name``.
    """

    model: str = ""
    data: list[str] = field(default_factory=list)
    eval_data: list[str] = field(default_factory=list)
    method: str = "lora"
    methods: list[str] = field(default_factory=list)
    name: str = ""
    gpus: str = "auto"
    eval_split: float = 0.1
    task: str = ""
    objective: str = ""
    columns: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    seeds: int = 1
    split_seed: int | None = None
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
            seed=request.get("seed", 0), split_seed=request.get("split_seed"), share_gpu=request.get("share_gpu", False),
            settings={**request.get("training_options", {}), **request.get("method_options", {})},
        )  # fmt: skip

    @property
    def comparing(self) -> bool:
        """Whether methods are compared."""
        return len(self.methods) > 1

    def choose(self, names: Sequence[str]) -> None:
        """Train one method, or compare several; what was set for a method is kept while it is among them."""
        before = self.methods or [self.method]
        own = {name: self.own_settings(name) for name in before}
        self.settings = self.training_settings()
        self.method, self.methods = names[0], list(names) if len(names) > 1 else []
        for name in names:
            prefix = f"{name}:" if self.comparing else ""
            # One method in the place of another takes over what it knows as well: the rank of lora for qlora.
            kept = own.get(name, own[before[0]] if len(before) == len(names) == 1 else {})
            self.settings |= {prefix + key: value for key, value in kept.items()}

    def own_settings(self, method: str) -> dict[str, Any]:
        """Settings of a method's own, under their names."""
        if self.comparing:
            return {key.removeprefix(f"{method}:"): value for key, value in self.settings.items() if key.startswith(f"{method}:")}
        return {key: value for key, value in self.settings.items() if key not in _shared()}

    def training_settings(self) -> dict[str, Any]:
        """Settings of the training loop, which every method shares."""
        return {key: value for key, value in self.settings.items() if key in _shared()}

    # What is asked for ------------------------------------------------------------------------------------------------

    def arguments(self) -> dict[str, Any]:
        """Keyword arguments of `core.runs.requests.train_request`."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__ if name not in ("methods", "seeds", "priority")}

    def question(self) -> Question:
        """The comparison, for `core.compare.asking.compare_request`."""
        from ..core.compare.asking import Question

        task = "seq-cls" if self.task == "seq-cls" else "causal-lm" if self.task else None
        return Question(
            model=self.model, data=self.data, methods=self.methods, settings=self.settings, name=self.name, task=task,
            objective=self.objective, columns=self.columns, eval_data=self.eval_data, eval_split=self.eval_split, seed=self.seed,
            seeds=self.seeds, gpus=self.gpus,
        )  # fmt: skip

    # The same in words ------------------------------------------------------------------------------------------------

    def said(self, usual: Settings) -> dict[str, Any]:
        """What must be said for the same to be asked: flags (without dashes) and their values, in order.

        Args:
            usual: the user's configuration, which the command line takes what is left out from.
        """
        comparing = self.comparing
        flags: dict[str, Any] = {"model": self.model or "MODEL", "data": self.data or ["FILE"]}
        flags |= {"methods": self.methods} if comparing else {"method": self.method}
        optional: dict[str, tuple[Any, Any]] = {
            "eval_data": (self.eval_data, []), "name": (self.name, ""), "gpus": (self.gpus, usual.gpus),
            "eval_split": (self.eval_split, 0.1), "seed": (self.seed, 0), "task": (self.task, ""), "objective": (self.objective, ""),
            "columns": (self.columns, {}),
        }  # fmt: skip
        optional |= (
            {"seeds": (self.seeds, 1)}
            if comparing
            else {
                "split_seed": (self.split_seed, None),
                "share_gpu": (self.share_gpu, usual.share_gpu),
                "priority": (self.priority, 0),
            }  # fmt: skip
        )
        flags |= {name: value for name, (value, default) in optional.items() if value != default}
        return {**flags, "set": self.settings} if self.settings else flags

    def command(self, usual: Settings) -> str:
        """The equivalent command line; ``usual`` as in `said`."""
        words = ["finetui", "compare" if self.comparing else "train"]
        for name, value in self.said(usual).items():
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                words.append(flag if value else "--no-" + flag[2:])
            elif name == "set":
                words += [word for key, item in value.items() for word in (flag, f"{key}={write_value(item)}")]
            elif isinstance(value, dict):
                words += [flag, ",".join(f"{key}={_column(item)}" for key, item in value.items())]
            elif name == "methods":
                words += [flag, ",".join(value)]
            else:
                words += [word for item in (value if isinstance(value, list) else [value]) for word in (flag, str(item))]
        return shlex.join(words)

    def toml(self, usual: Settings) -> str:
        """The equivalent file for ``-c``; ``usual`` as in `said`."""
        return write_file(self.said(usual))

    @property
    def file_command(self) -> str:
        """The command that takes that file."""
        return f"finetui {'compare' if self.comparing else 'train'} -c FILE.toml"


def _column(name: str) -> str:
    """A column's name as ``--columns`` reads it."""
    return name if str(read_value(name)) == name else write_value(name)


def _shared() -> set[str]:
    """Names of the training loop's options."""
    return {row.name for row in describe(TrainingOptions)}
