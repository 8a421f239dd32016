"""The training loop: a recipe to read from top to bottom."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from transformers import set_seed

from ..api import CorruptFile, Course, Method, ModelSpec
from ..runs.job import Job
from ..training import TrainingOptions
from .batches import Batch, Schedule, collate, in_rounds
from .checkpoints import Checkpoints, CheckpointState, Progress, random_state
from .classify import Judged, judge, scores_of
from .corpus import Corpus
from .divergence import DivergenceWatch
from .forward import model_arguments, total_loss
from .losses import LossFunction
from .memory import MemoryMeter
from .optim import held
from .overfitting import Reading, parted
from .parallel import ALONE, World
from .precision import Precision
from .publish import Sources
from .sampling import answers, verdicts
from .utilisation import Utilisation


class StopTraining(Exception):
    """A stop was requested; the checkpoint is saved."""


@dataclass
class Loop:
    """Everything a run trains with, and how far it is.

    Attributes:
        model: what the method prepared, on its device.
        spec: the base, as the planner reads it; the method's self-check compares with it.
        packed: documents are laid end to end; else padded.
        total_steps: optimizer steps to do in all.
        sources: what the result is made from, for its manifest.
        progress: counters; restored from the newest checkpoint by `resume`.
        world: the processes that train together. All of them take the same decisions at the same step; rank 0 writes.
    """

    job: Job
    model: Any
    method: Method
    method_options: Any
    options: TrainingOptions
    spec: ModelSpec
    corpus: Corpus
    precision: Precision
    device: torch.device
    packed: bool
    schedule: Schedule
    total_steps: int
    optimizer: torch.optim.Optimizer
    scheduler: Any
    checkpoints: Checkpoints
    meter: MemoryMeter
    sources: Sources
    progress: Progress = field(default_factory=Progress)
    world: World = ALONE

    def __post_init__(self) -> None:
        self.scaler = self.precision.scaler()
        self.loss_function = LossFunction(self.model, self.precision)
        footprint = self.method.footprint(self.spec, self.method_options)
        self.utilisation = Utilisation(self.spec, footprint, self.device, self.precision, self.world)
        self.divergence = DivergenceWatch(self.job, self.checkpoints, self.options)
        self.first_step = 0
        self.saved_step: int | None = None
        self.session_tokens = 0
        self.session_seconds = 0.0
        self.saved_time = time.monotonic()

    # The recipe ----------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Train to the end; afterwards the model holds the best weights (or the last, where nothing was evaluated).

        Raises:
            StopTraining: on request, after saving a checkpoint.
            WorkFailed: training diverged (`DivergenceWatch`), or the method's self-check failed.
        """
        course = Course(self.total_steps, self.schedule.steps_per_epoch, bool(self.corpus.evaluation))
        self.method.begin(self.model, self.method_options, course)
        if not self.world.is_main:
            set_seed(self.schedule.seed + self.world.rank)  # dropout of each process's own
        self.resume()
        self.model.train()
        if self.progress.step == 0:
            self.start()
        elif self.evaluation_due() and self.progress.evaluation.get("step") != self.progress.step:
            self.evaluate()  # the attempt before was stopped during this one
        while self.progress.step < self.total_steps and not self.out_of_patience():
            self.train_step()
            if self.evaluation_due():
                self.evaluate()
            if self.checkpoint_due():
                self.save_checkpoint()
            if self.progress.step < self.total_steps:
                self.heed_stop()
        self.save_checkpoint()
        if self.world.is_main:
            self.restore_best()
            self.checkpoints.remove_damaged()

    def start(self) -> None:
        """What comes before the first step: starts that are computed from data, the same for all processes."""
        self.method.see_data(self.model, self.method_options, self.first_batches(), self.look)
        self.world.same_start(self.model, self.optimizer)
        self.sample()

    def train_step(self) -> None:
        """One optimizer step over its micro-batches; the loss is the mean over all loss tokens (or classified rows) of all processes."""
        step, started = self.progress.step, time.perf_counter()
        batches = self.batches_of(step)
        loss_tokens, tokens = self.totals(batches)
        data_seconds = time.perf_counter() - started

        self.method.before_step(self.model, self.method_options, step, self.total_steps)
        loss = sum(self.backward(batch, loss_tokens) for batch in batches)
        extra = self.method.extra_loss(self.model, self.method_options)
        if extra is not None:
            self.scaler.scale(extra / self.world.size).backward()
        self.world.sum_gradients([weight for weight, _ in held(self.optimizer)])
        loss = self.world.sum(loss)[0] / loss_tokens
        if step == self.first_step:
            self.method.self_check(self.model, self.spec, self.method_options)
        self.divergence.require_finite(loss, "loss", step + 1)

        rate = self.scheduler.get_last_lr()[0]
        gradient_norm = self.optimizer_step()
        self.method.after_step(self.model, self.method_options, step, self.total_steps)
        self.optimizer.zero_grad(set_to_none=True)
        self.record(loss, loss_tokens, tokens, rate, gradient_norm, time.perf_counter() - started, data_seconds)
        self.divergence.take(step + 1, loss, gradient_norm)

    def batches_of(self, step: int) -> list[Batch]:
        """The forward passes of a step."""
        pad_id = self.corpus.renderer.tokenizer.pad_token_id or 0
        return [
            batch
            for numbers in self.schedule.step(step)
            for batch in collate([self.corpus.train[i] for i in numbers], packed=self.packed, pad_id=pad_id, device=self.device)
        ]

    def totals(self, batches: list[Batch]) -> tuple[int, int]:
        """Loss tokens and tokens of a step, over all processes."""
        loss_tokens, tokens = self.world.sum(sum(len(batch.targets) for batch in batches), sum(batch.tokens for batch in batches))
        return int(loss_tokens), int(tokens)

    def first_batches(self) -> Iterator[Batch]:
        """The training data as the first steps see it, padded: of all processes, so that each computes the same from it."""
        pad_id = self.corpus.renderer.tokenizer.pad_token_id or 0
        schedules = [replace(self.schedule, rank=rank) for rank in range(self.world.size)]
        for step in range(self.total_steps):
            for numbers in (numbers for schedule in schedules for numbers in schedule.step(step)):
                yield from collate([self.corpus.train[i] for i in numbers], packed=False, pad_id=pad_id, device=self.device)

    @torch.no_grad()
    def look(self, batch: Batch) -> None:
        """Put a batch through the model for its own sake."""
        with self.precision.autocast():
            self.model(**model_arguments(batch))

    def backward(self, batch: Batch, loss_tokens: int) -> float:
        """Forward and backward of one batch; returns its summed loss."""
        with self.precision.autocast():
            loss = self.loss_function(batch)
        self.meter.sample()
        self.scaler.scale(loss / loss_tokens).backward()
        self.meter.sample()
        return loss.item()

    def optimizer_step(self) -> float:
        """Clip, update weights and learning rate; returns the norm of the gradients before clipping."""
        self.scaler.unscale_(self.optimizer)
        limit = self.options.max_grad_norm or math.inf
        norm = torch.nn.utils.clip_grad_norm_([weight for weight, _ in held(self.optimizer)], limit).item()
        if not self.scaler.is_enabled():  # with loss scaling an overflow is ordinary: that step is skipped and the scale lowered
            self.divergence.require_finite(norm, "gradient norm", self.progress.step + 1)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.scheduler.step()
        return norm

    # What is written down ------------------------------------------------------------------------------------------

    def record(
        self, loss: float, loss_tokens: int, tokens: int, rate: float, gradient_norm: float, seconds: float, data_seconds: float
    ) -> None:
        """Advance the counters and write the step's metric line; memory is that of the process with most of it."""
        progress = self.progress
        flops = self.utilisation.count(tokens, 0 if self.corpus.labels else loss_tokens, self.schedule.examples_per_step)
        progress.step += 1
        progress.loss = loss
        progress.interval_loss += loss
        progress.interval_steps += 1
        progress.tokens += tokens
        progress.loss_tokens += loss_tokens
        progress.seconds += seconds
        self.session_tokens += tokens
        self.session_seconds += seconds
        if progress.step % self.options.logging_steps and progress.step != self.total_steps:
            return
        memory, peak = self.world.most(self.meter.sample(), self.meter.peak)
        self.job.metric(
            {
                "step": progress.step, "epoch": progress.step / self.schedule.steps_per_epoch, "loss": loss, "learning_rate": rate,
                "grad_norm": gradient_norm if math.isfinite(gradient_norm) else None, "tokens": progress.tokens,
                "loss_tokens": progress.loss_tokens, "tokens_per_second": tokens / seconds, "step_seconds": seconds,
                "data_seconds": data_seconds, "mfu": self.utilisation.share(flops, seconds), "memory_bytes": int(memory),
                "peak_memory_bytes": int(peak), **self.method.metrics(self.model, self.method_options),
            }
        )  # fmt: skip
        self.job.progress(progress.step, self.total_steps, "steps")

    def sample(self) -> None:
        """Answer the sample prompts, or classify them, one event each; the other processes wait for rank 0 at their next exchange."""
        if not self.world.is_main:
            return
        prompts, stop = self.options.sample_prompts, self.job.stop_requested
        if self.corpus.labels:
            texts = verdicts(
                self.model, self.corpus.renderer, prompts, labels=self.corpus.labels, max_length=self.options.max_length,
                precision=self.precision, stop=stop,
            )  # fmt: skip
        else:
            texts = answers(
                self.model, self.corpus.renderer, prompts, max_new_tokens=self.options.sample_max_new_tokens, precision=self.precision,
                system_prompt=self.options.system_prompt, continue_text=self.corpus.objective == "text", stop=stop,
            )  # fmt: skip
        for prompt, text in zip(prompts, texts):
            self.job.event("sample", f"{prompt} → {text}", step=self.progress.step, prompt=prompt, text=text)

    # Evaluation ----------------------------------------------------------------------------------------------------

    def evaluation_due(self) -> bool:
        """Every ``eval_steps`` (0: at the end of every epoch), and at the end."""
        every = self.options.eval_steps or self.schedule.steps_per_epoch
        return self.progress.step % every == 0 or self.progress.step == self.total_steps

    def evaluate(self) -> None:
        """Measure the loss on the evaluation rows, which the processes share (of a classifier how often it is right, too), remember
        whether it is the best so far, and answer the sample prompts."""
        progress = self.progress
        if self.corpus.evaluation:
            pad_id = self.corpus.renderer.tokenizer.pad_token_id or 0
            size = self.options.per_device_eval_batch_size
            rounds = in_rounds(
                self.corpus.evaluation, size, packed=self.packed, pad_id=pad_id, device=self.device,
                processes=self.world.size, rank=self.world.rank,
            )  # fmt: skip
            scores = self.scores(self.until_stopped(rounds))
            loss = scores["loss"]
            progress.evaluation = {"step": progress.step, **scores}
            if math.isfinite(loss) and (progress.best_loss is None or loss < progress.best_loss):
                progress.best_step, progress.best_loss, progress.stale_evaluations = progress.step, loss, 0
                progress.best_evaluation, progress.overfitting_step = progress.evaluation, None
            else:
                progress.stale_evaluations += 1
            self.job.metric({"step": progress.step, **{f"eval_{name}": value for name, value in scores.items()}})
            right = f", accuracy {scores['accuracy']:.1%}" if "accuracy" in scores else ""
            self.job.event("evaluation", f"step {progress.step}: evaluation loss {loss:.4f}{right}", step=progress.step, **scores)
            self.watch_overfitting(loss)
            self.meter.sample()
            self.method.after_evaluation(self.model, self.method_options, progress.step, loss)
        self.sample()

    def watch_overfitting(self, loss: float) -> None:
        """Compare the course of this evaluation loss with that of the training loss; say once when they have parted."""
        progress, patience = self.progress, self.options.overfitting_patience
        training = progress.interval_loss / progress.interval_steps if progress.interval_steps else progress.loss or math.nan
        progress.interval_loss, progress.interval_steps = 0.0, 0
        if not (math.isfinite(loss) and math.isfinite(training)):
            return
        progress.readings = [*progress.readings, Reading(progress.step, training, loss)][-(patience + 1) :]
        if progress.overfitting_step is not None or not parted(progress.readings, patience):
            return
        progress.overfitting_step, first = progress.step, progress.readings[0]
        self.job.event(
            "overfitting",
            f"over-fitting: since step {first.step} the evaluation loss rose from {first.evaluation:.4f} to {loss:.4f}, "
            f"the training loss fell from {first.training:.4f} to {training:.4f}",
            step=progress.step, since=first.step, eval_loss=loss, eval_loss_before=first.evaluation, loss=training,
            loss_before=first.training, best=progress.best_step, best_loss=progress.best_loss,
        )  # fmt: skip

    def scores(self, batches: Iterable[Batch]) -> dict[str, Any]:
        """Figures of the model as it is: ``loss``, then ``perplexity`` or ``accuracy`` and ``f1``, and ``tokens``."""
        if self.corpus.labels:
            parts = self.world.exchange(judge(self.model, batches, self.precision))
            return scores_of(Judged(*part) for part in parts)._asdict()
        total, tokens = self.world.sum(*total_loss(self.model, self.loss_function, batches, self.precision))
        loss = total / tokens
        return {"loss": loss, "perplexity": math.exp(min(loss, 700.0)), "tokens": int(tokens)}

    def until_stopped(self, rounds: Iterable[list[Batch]]) -> Iterator[Batch]:
        """The batches of an evaluation; a stop leaves it between two rounds, and `run` makes up for it after a resume."""
        for batches in rounds:
            self.heed_stop()
            yield from batches

    def heed_stop(self) -> None:
        """Save a checkpoint and raise `StopTraining` if any process was asked to stop."""
        if self.world.any(self.job.stop_requested()):
            self.save_checkpoint()
            raise StopTraining

    def out_of_patience(self) -> bool:
        """Whether early stopping ends the training here."""
        patience = self.options.early_stopping_patience
        if self.options.stop_on_overfitting and self.progress.overfitting_step is not None:
            self.job.event("early_stop", "over-fitting", step=self.progress.step, best=self.progress.best_step)
            return True
        if not patience or self.progress.stale_evaluations < patience:
            return False
        self.job.event("early_stop", f"no improvement in {patience} evaluations", step=self.progress.step, best=self.progress.best_step)
        return True

    def restore_best(self) -> None:
        """Put the weights with the lowest evaluation loss back, where that is wanted and they are not the last."""
        best = self.progress.best_step
        if self.options.load_best_model_at_end and best is not None and best != self.progress.step:
            try:
                self.checkpoints.read(best)
                self.checkpoints.load_trainable(best, self.model, self.optimizer)
            except CorruptFile as problem:
                self.progress.best_evaluation = self.progress.evaluation
                self.job.event("warning", f"the best checkpoint is damaged, the last weights are the result: {problem.message}")

    # Checkpoints ---------------------------------------------------------------------------------------------------

    def checkpoint_due(self) -> bool:
        """Every ``save_steps`` (0: at every evaluation), ``save_minutes`` after the last, at a new best, and when asked for."""
        every, step = self.options.save_steps, self.progress.step
        asked = self.job.checkpoint_requested()
        new_best = self.options.load_best_model_at_end and self.progress.best_step == step
        minutes = self.options.save_minutes
        overdue = minutes > 0 and time.monotonic() - self.saved_time >= 60 * minutes
        due = step % every == 0 if every else self.evaluation_due()
        wanted = asked or new_best or overdue or due
        return self.world.any(wanted and not self.divergence.withholds_checkpoints)

    def save_checkpoint(self) -> None:
        """Save a checkpoint of this step unless there is one."""
        step = self.progress.step
        if self.saved_step == step:
            return
        self.saved_step, self.saved_time = step, time.monotonic()
        random_states = self.world.exchange(random_state())
        if not self.world.is_main:
            return
        removed = self.checkpoints.make_room(self.model, self.optimizer, self.progress.best_step)
        if removed:
            steps = ", ".join(map(str, removed))
            self.job.event(
                "warning", f"the disk is nearly full: to make room, the checkpoints of these steps were removed: {steps}", step=step
            )
        path = self.checkpoints.save(
            self.model, self.optimizer, self.scheduler, self.scaler, self.progress, self.method.state(self.model, self.method_options),
            random_states, self.schedule.examples_per_step,
        )  # fmt: skip
        self.saved_time = time.monotonic()  # writing may take minutes
        self.job.event("checkpoint", f"checkpoint at step {step}", step=step, path=str(path), best=self.progress.best_step == step)

    def resume(self) -> None:
        """Go on from the newest checkpoint that is whole.

        Raises:
            Incompatible: its steps were of another number of examples, so that its place in the data is not this run's.
        """
        found = self.newest_whole() if self.world.is_main else None
        step = self.world.exchange(found and found[0])[0]
        if step is None:
            return
        state = found[1] if found else self.checkpoints.read(step)
        state.require_steps_of(self.schedule.examples_per_step)
        self.checkpoints.load(step, state, self.model, self.optimizer, self.scheduler, self.scaler, self.world.rank)
        self.method.load_state(self.model, self.method_options, self.checkpoints.method_state(step))
        digest, self.progress = self.progress.data_digest, state.progress
        self.first_step = self.saved_step = step
        self.job.event("resumed", f"resumed at step {step} of {self.total_steps}", step=step)
        if self.progress.data_digest != digest:
            self.job.event("warning", f"the data is not what it was up to step {step}; training goes on with what it is now")
            self.progress.data_digest = digest

    def newest_whole(self) -> tuple[int, CheckpointState] | None:
        """The newest checkpoint that is whole, if any; a damaged one is reported and passed over."""
        for step, state in self.checkpoints.newest():
            if not isinstance(state, CorruptFile):
                return step, state
            self.job.event("warning", f"checkpoint of step {step} is damaged and passed over: {state.message}", step=step)
            self.checkpoints.set_aside(step)
        return None
