"""Gradual unfreezing: blocks start to train from the top down (ULMFiT, https://arxiv.org/abs/1801.06146)."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

from ...core.api import Course, DeltaMethod, Footprint, ModelSpec, Place, Task, UsageError, WorkFailed, option, places

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class GradualUnfreezingOptions:
    """Options of `GradualUnfreezing`."""

    until: Literal["schedule", "plateau"] = option(
        "schedule", "When the next blocks start: after a fixed time, or when the evaluation loss stops falling.", group="Method"
    )
    blocks_per_stage: int = option(1, "Blocks that start to train together.", minimum=1, group="Method")
    steps_per_stage: int = option(0, "Optimizer steps of a stage; 0: by epochs.", minimum=0, group="Method", unit="steps")
    epochs_per_stage: float = option(
        0.0, "Epochs of a stage (1 in the paper); 0, with no steps either: all stages in equal shares of the run.",
        minimum=0.0, group="Method", unit="epochs",
    )  # fmt: skip
    patience: int = option(1, "With until=plateau: evaluations without improvement that end a stage.", minimum=1, group="Method")
    layer_decay: float = option(
        1.0, "Discriminative rates: every layer's learning rate is this many times smaller than that of the one above (2.6 in the paper).",
        minimum=1.0, group="Method",
    )  # fmt: skip


@dataclass
class Unfreezing:
    """How far a model is; it lies on the model, as one instance of a method serves the whole process.

    Attributes:
        depths: of every parameter by name (see `Place.depth`).
        stage: the current one, from 0.
        checked: the last stage whose gradients were checked.
        best: lowest evaluation loss of this stage, and the one that ended the stage before.
        stale: evaluations since then.
    """

    depths: dict[str, int]
    course: Course = Course(1, 1, False)
    stage: int = 0
    checked: int = -1
    best: float = math.inf
    stale: int = 0


class GradualUnfreezing(DeltaMethod):
    """First the head trains alone, with what stands above the blocks; stage by stage the blocks below join, the embeddings last.

    The optimizer holds all parameters from the start: those that do not train yet have no gradient, so that Adam leaves them
    and their states alone until they do.
    """

    name = "gradual_unfreezing"
    title = "Gradual unfreezing"
    summary = "Unfreezes blocks from the top down while training: the general layers below change last."
    good_for = "When there is little data and full fine-tuning forgets: what the base knows in general changes last."
    reference = "https://arxiv.org/abs/1801.06146"
    options = GradualUnfreezingOptions

    def refusal(self, model: ModelSpec, task: Task, options: GradualUnfreezingOptions) -> str:
        """A stage's length in two units."""
        if options.steps_per_stage and options.epochs_per_stage:
            return "steps_per_stage and epochs_per_stage are both given; choose one"
        return super().refusal(model, task, options)

    def trains(self, place: Place, options: GradualUnfreezingOptions) -> bool:
        """Everything, in the end."""
        return True

    def footprint(self, model: ModelSpec, options: GradualUnfreezingOptions) -> Footprint:
        """Everything, but not all the time: where the stages divide the run evenly, the lower a weight the shorter it trains."""
        everything = super().footprint(model, options)
        if options.until != "schedule" or options.steps_per_stage or options.epochs_per_stage:
            return everything
        sizes = [(stage_of(place.depth, options), model.tensors[place.name].elements) for place in places(model)]
        stages = max(stage for stage, _ in sizes) + 1
        trained = sum(size * (stages - stage) for stage, size in sizes)
        return replace(everything, share_of_run=trained / (stages * everything.trainable_parameters))

    def prepare(self, model: Any, options: GradualUnfreezingOptions, task: Task) -> Any:
        """Let everything train, so that the optimizer gets it; `before_step` freezes what is not due."""
        from ...core.worker.deltas import layout_of

        model = super().prepare(model, options, task)
        layout = layout_of(model, task)
        model.unfreezing = Unfreezing({name: layout.place(name, tuple(p.shape)).depth for name, p in model.named_parameters()})
        return model

    def parameter_groups(
        self, model: Any, options: GradualUnfreezingOptions, learning_rate: float, weight_decay: float
    ) -> list[dict[str, Any]]:
        """For every depth, the top first: matrices, and what is exempt from weight decay; at the depth's own learning rate."""
        groups: dict[tuple[int, bool], list[Any]] = {}
        for name, parameter in model.named_parameters():
            groups.setdefault((model.unfreezing.depths[name], parameter.ndim > 1), []).append(parameter)
        return [
            {"params": members, "lr": learning_rate / options.layer_decay**depth, "weight_decay": weight_decay if decays else 0.0}
            for (depth, decays), members in sorted(groups.items(), key=lambda item: (item[0][0], not item[0][1]))
        ]

    def begin(self, model: Any, options: GradualUnfreezingOptions, course: Course) -> None:
        """Note how long the run will be.

        Raises:
            UsageError: stages wait for evaluations, and there are none.
        """
        if options.until == "plateau" and not course.evaluates:
            raise UsageError("until=plateau needs evaluations, and there is no evaluation data", "give --eval-data or --eval-split")
        model.unfreezing.course = course

    def before_step(self, model: Any, options: GradualUnfreezingOptions, step: int, total_steps: int) -> None:
        """Freeze what is not due yet."""
        now: Unfreezing = model.unfreezing
        if options.until == "schedule":
            now.stage = min(int(step / stage_length(options, now.course, last_stage(now, options))), last_stage(now, options))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(stage_of(now.depths[name], options) <= now.stage)

    def after_step(self, model: Any, options: GradualUnfreezingOptions, step: int, total_steps: int) -> None:
        """Check the gradients of the first step of every stage."""
        if model.unfreezing.checked < model.unfreezing.stage:
            self._check(model, options)

    def after_evaluation(self, model: Any, options: GradualUnfreezingOptions, step: int, loss: float) -> None:
        """Under ``until=plateau``, go on to the next stage after ``patience`` evaluations that were not the best of this one."""
        now: Unfreezing = model.unfreezing
        if options.until != "plateau" or now.stage >= last_stage(now, options):
            return
        now.best, now.stale = (loss, 0) if loss < now.best else (now.best, now.stale + 1)
        if now.stale >= options.patience:
            now.stage, now.best, now.stale = now.stage + 1, loss, 0

    def self_check(self, model: Any, spec: ModelSpec, options: GradualUnfreezingOptions) -> None:
        """As every method, but that only what is due must have gradients, and nothing else may."""
        self._check(model, options)
        count, promised = sum(p.numel() for p in model.parameters()), self.footprint(spec, options).trainable_parameters
        if count != promised:
            raise WorkFailed(f"{self.name}: {count:,} parameters train in the end, {promised:,} were planned")

    def _check(self, model: Any, options: GradualUnfreezingOptions) -> None:
        now: Unfreezing = model.unfreezing
        for name, parameter in model.named_parameters():
            due = stage_of(now.depths[name], options) <= now.stage
            if due != (parameter.grad is not None):
                problem = "should train but got no gradient" if due else "is frozen but got a gradient"
                raise WorkFailed(f"{self.name}: in stage {now.stage} {name} {problem}")
        now.checked = now.stage

    def metrics(self, model: Any, options: GradualUnfreezingOptions) -> dict[str, float]:
        """The stage."""
        return {"stage": model.unfreezing.stage}

    def result(self, model: Any, options: GradualUnfreezingOptions) -> dict[str, Any]:
        """How far unfreezing came."""
        now: Unfreezing = model.unfreezing
        trained = [p.numel() for name, p in model.named_parameters() if stage_of(now.depths[name], options) <= now.stage]
        return {"stage": now.stage, "last_stage": last_stage(now, options), "unfrozen_parameters": sum(trained)}

    def state(self, model: Any, options: GradualUnfreezingOptions) -> dict[str, torch.Tensor]:
        """The stage and the counters of ``until=plateau``."""
        import torch

        now: Unfreezing = model.unfreezing
        return {"stage": torch.tensor(now.stage), "best": torch.tensor(now.best, dtype=torch.float64), "stale": torch.tensor(now.stale)}

    def load_state(self, model: Any, options: GradualUnfreezingOptions, tensors: Mapping[str, torch.Tensor]) -> None:
        """Put them back."""
        now: Unfreezing = model.unfreezing
        now.stage, now.best, now.stale = int(tensors["stage"]), float(tensors["best"]), int(tensors["stale"])


def stage_of(depth: int, options: GradualUnfreezingOptions) -> int:
    """The stage in which weights of this depth start to train."""
    return math.ceil(depth / options.blocks_per_stage)


def last_stage(now: Unfreezing, options: GradualUnfreezingOptions) -> int:
    """The stage in which everything trains."""
    return stage_of(max(now.depths.values()), options)


def stage_length(options: GradualUnfreezingOptions, course: Course, last: int) -> float:
    """Optimizer steps of a stage under ``until=schedule``."""
    if options.steps_per_stage:
        return options.steps_per_stage
    return options.epochs_per_stage * course.steps_per_epoch or course.total_steps / (last + 1)
