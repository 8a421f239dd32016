"""Full fine-tuning: every parameter of the base trains; the result is an ordinary model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...core.api import Footprint, Method, ModelSpec, NoOptions, Task


class Full(Method):
    """Every weight trains in float32 (computed in lower precision where the hardware has it): the most memory, the most freedom."""

    name = "full"
    title = "Full fine-tuning"
    summary = "Trains every parameter; the result is a whole model."
    good_for = "When there is data and memory for it and one model is to serve one purpose: nothing adapts more deeply, nothing costs more."
    artifact = "model"
    merges = False
    learning_rate = 5e-5

    def footprint(self, model: ModelSpec, options: NoOptions) -> Footprint:
        """All parameters train; nothing is added."""
        return Footprint(trainable_parameters=model.parameters)

    def load_arguments(self, options: NoOptions, device: Any) -> dict[str, Any]:
        """Weights that train are kept in float32, whatever the precision of the computation."""
        import torch

        return {"dtype": torch.float32}

    def prepare(self, model: Any, options: NoOptions, task: Task) -> Any:
        """Let everything train."""
        return model.requires_grad_(True)

    def save(self, model: Any, folder: Path) -> None:
        """Write ``config.json`` and safetensors, in the precision that the base was stored in."""
        from ...core.worker.publish import save_model

        save_model(model, folder)
