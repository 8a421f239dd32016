"""What enter opens on the answers of a new run that are chosen from a list."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ...core.embedded import dataset, dataset_names
from ..answers import Answers
from ..asking import MethodRow
from ..backend import Shelf
from ..format import human_count
from ..newrun import data_choices, is_data_file, is_model_folder
from .base import Working
from .messages import PickDialog

if TYPE_CHECKING:
    from ...core.api import Example


class Pickers(Working):
    """Mixed into the form: each chooser changes the answers and tells the form what has changed."""

    answers: Answers
    shelf: Shelf | None
    rows: Sequence[Example]

    def chose_model(self) -> None:
        """Another base."""
        raise NotImplementedError

    def chose_data(self) -> None:
        """Other training data."""
        raise NotImplementedError

    def chose(self) -> None:
        """Anything else."""
        raise NotImplementedError

    def pick_model(self) -> None:
        """A base from the catalog, or a folder."""
        entries = [
            (entry.name, entry.name, entry.problem or f"{human_count(entry.parameters)}  {entry.dtype}  {entry.source}")
            for entry in (self.shelf.models if self.shelf else [])
        ]

        def chosen(value: str | None) -> None:
            if value:
                self.answers.model = value
                self.chose_model()

        self.app.push_screen(PickDialog("Base model", entries, chosen=self.answers.model, paths=is_model_folder), chosen)

    def pick_data(self) -> None:
        """Built-in data, or a file; built-in data brings its evaluation data along."""
        embedded = {name: dataset(name) for name in dataset_names()}

        def chosen(value: str | None) -> None:
            if value:
                self.answers.data = [value]
                pair = next((embedded.get(f"{name}_eval") for name, path in embedded.items() if str(path) == value), None)
                self.answers.eval_data = [str(pair)] if pair else []
                self.chose_data()

        now = self.answers.data[0] if self.answers.data else ""
        self.app.push_screen(PickDialog("Data", data_choices(embedded, Path.cwd()), chosen=now, paths=is_data_file), chosen)

    def pick_eval_data(self) -> None:
        """A file, or none."""
        embedded = {name.removesuffix("_eval") + " (evaluation)": dataset(name) for name in dataset_names() if name.endswith("_eval")}
        entries = [("none", "none", "set a part of the data aside"), *data_choices(embedded, Path.cwd())]

        def chosen(value: str | None) -> None:
            if value:
                self.answers.eval_data = [] if value == "none" else [value]
                self.chose()

        self.app.push_screen(PickDialog("Evaluation data", entries, paths=is_data_file), chosen)

    def pick_method(self) -> None:
        """The planner's ranked list; several methods marked in it are compared."""
        from .. import asking
        from .methods import MethodsScreen

        def chosen(names: list[str] | None) -> None:
            if names:
                self.answers.choose(names)
                self.chose()

        def show(rows: list[MethodRow]) -> None:
            place = f"for {self.answers.model}" if self.answers.model else "without a model"
            self.app.push_screen(MethodsScreen(rows, self.answers.methods or [self.answers.method], place), chosen)

        home, asked, rows = self.app.home, replace(self.answers), self.rows
        self.work(lambda: asking.method_rows(home, asked, rows), show, group="methods")

    def pick_gpus(self) -> None:
        """The devices."""
        entries = [("auto", "auto", "the GPU with most free memory, else the CPU"), ("none", "none", "the CPU")]
        entries += [(device.id, f"GPU {device.id}", device.name) for device in self.app.devices if device.kind != "cpu" and device.usable]

        def chosen(value: str | None) -> None:
            if value:
                self.answers.gpus = value
                self.chose()

        self.app.push_screen(PickDialog("Device", entries, chosen=self.answers.gpus), chosen)
