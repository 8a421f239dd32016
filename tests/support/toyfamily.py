"""A family of plugins as a third party would write it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from finetui.core.api import Family, Footprint, Method, ModelSpec, NotFound, Task


class Toy(Method):
    """A method that trains nothing, in one of its colours."""

    title = "Toy"
    summary = "Trains nothing."

    def __init__(self, colour: str) -> None:
        vars(self)["name"] = f"toys:{colour}"

    def footprint(self, model: ModelSpec, options: Any) -> Footprint:
        return Footprint(0)

    def prepare(self, model: Any, options: Any, task: Task) -> Any:
        return model

    def save(self, model: Any, folder: Path) -> None:
        pass


class Toys(Family):
    """Toys in two colours."""

    name = "toys:*"
    title = "Toys"
    summary = "Methods that train nothing."

    def members(self) -> list[str]:
        return ["red", "blue"]

    def make(self, member: str) -> Any:
        if member == "odd":
            return object()
        if member not in self.members():
            raise NotFound(f"no toy is {member}")
        return Toy(member)
