"""A method as a third party would write it: everything comes from ``finetui.core.api``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from finetui.core.api import Footprint, ModelSpec, PeftMethod, Task, option

KEYS = ("k_proj", "v_proj")
FEEDFORWARD = ("down_proj",)


@dataclass(frozen=True)
class ExampleOptions:
    """Which projections are rescaled."""

    where: Literal["attention", "everywhere"] = option("everywhere", "Rescale attention only, or the feed-forward layers too.")


class ExampleIa3(PeftMethod):
    """(IA)³ on Llama-like models: one learned vector a projection (Liu et al., 2022)."""

    name: ClassVar[str] = "example_ia3"
    title: ClassVar[str] = "Example (IA)³"
    summary: ClassVar[str] = "learned rescaling vectors, from a third-party package"
    options: ClassVar[type] = ExampleOptions
    learning_rate: ClassVar[float] = 1e-2

    def _targets(self, options: ExampleOptions) -> tuple[str, ...]:
        return KEYS + (FEEDFORWARD if options.where == "everywhere" else ())

    def refusal(self, model: ModelSpec, task: Task, options: ExampleOptions) -> str:
        """Only models with Llama's projection names."""
        if not any(linear.suffix in KEYS for linear in model.linears):
            return f"{model.architecture} has no k_proj and v_proj"
        return super().refusal(model, task, options)

    def footprint(self, model: ModelSpec, options: ExampleOptions) -> Footprint:
        """One value an output of the attention projections, one an input of the feed-forward ones."""
        count = 0
        for linear in model.linears:
            if linear.suffix in self._targets(options):
                count += linear.in_features if linear.suffix in FEEDFORWARD else linear.out_features
        return Footprint(trainable_parameters=count, added_parameters=count)

    def peft_config(self, model: Any, options: ExampleOptions, task: Task) -> Any:
        """PEFT's own (IA)³."""
        from peft import IA3Config

        chosen = list(self._targets(options))
        return IA3Config(task_type="CAUSAL_LM", target_modules=chosen, feedforward_modules=[name for name in chosen if name in FEEDFORWARD])
