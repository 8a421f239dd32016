"""A method as a third party would write it: it imports `finetui.core.api` and nothing else of FineTUI."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from finetui.core.api import Footprint, Method, ModelSpec, Task, option


@dataclass(frozen=True)
class GentleOptions:
    """Options of `Gentle`."""

    softness: int = option(1, "How softly it trains.", minimum=1, maximum=9)


class Gentle(Method):
    """Trains the last norm only."""

    name = "gentle"
    title = "Gentle"
    summary = "Trains one small vector."
    options = GentleOptions

    def footprint(self, model: ModelSpec, options: GentleOptions) -> Footprint:
        """One vector."""
        return Footprint(trainable_parameters=model.hidden_size)

    def prepare(self, model: Any, options: GentleOptions, task: Task) -> Any:
        """Unfreeze the last norm."""
        model.requires_grad_(False)
        model.model.norm.requires_grad_(True)
        return model

    def save(self, model: Any, folder: Path) -> None:
        """Save everything."""
        model.save_pretrained(folder)
