"""Divergence: loss or gradients that are no numbers any more, or far above what they were, and not for a single odd batch."""

from __future__ import annotations

import math
import statistics
from collections import deque
from dataclasses import dataclass

from ..errors import WorkFailed
from ..runs.job import Job
from ..training import TrainingOptions
from .checkpoints import Checkpoints

WINDOW = 50
"""Readings that the usual value is the median of."""
FEWEST = 20
"""Readings from which their spread is known well enough to judge by it."""
STRIKES = 3
"""Readings in a row that must be far above."""

_DEVIATIONS = 6.0
_MAD_TO_SIGMA = 1.4826
"""Of a normal distribution: standard deviation over median absolute deviation."""


@dataclass(frozen=True, slots=True)
class Explosion:
    """What is far above its usual value."""

    what: str
    value: float
    usual: float

    def __str__(self) -> str:
        return f"the {self.what} is {self.value:.3g}, it was usually {self.usual:.3g}"


class Series:
    """One figure of every step.

    It is far above when it exceeds its running median by six standard deviations (estimated from the median absolute deviation,
    which a few outliers do not move), by ``share`` of the median, and by ``least``. Readings that are far above do not enter the window,
    so that an explosion does not become the usual.

    Args:
        early: stands for ``share`` up to `FEWEST` readings, while the spread is not known: a learning rate that is far too high shows
            within the first steps. None: nothing is judged until then.
    """

    def __init__(self, what: str, *, share: float, least: float, early: float | None = None) -> None:
        self.what = what
        self._share, self._least, self._early = share, least, early
        self._window: deque[float] = deque(maxlen=WINDOW)
        self.strikes = 0

    def take(self, value: float) -> Explosion | None:
        """Take a reading in; returns what has exploded, for as long as it stays so."""
        usual = statistics.median(self._window) if self._window else value
        if value - usual <= self._margin(usual):
            self._window.append(value)
            self.strikes = 0
            return None
        self.strikes += 1
        return Explosion(self.what, value, usual) if self.strikes >= STRIKES else None

    def _margin(self, usual: float) -> float:
        """How much above ``usual`` is not far yet."""
        if len(self._window) < FEWEST:
            return math.inf if self._early is None or not self._window else max(self._early * abs(usual), self._least)
        deviation = _MAD_TO_SIGMA * statistics.median(abs(one - usual) for one in self._window)
        return max(_DEVIATIONS * deviation, self._share * abs(usual), self._least)


class Divergence:
    """Watches loss and gradient norm of a run.

    The loss must be half as high again as usual (in the first steps twice as high), and by half a nat; the norm eleven times as high
    as usual, and where gradients are clipped, so much above the limit.

    Args:
        max_grad_norm: gradients are clipped to it; 0: they are not.

    Attributes:
        explosion: what is far above its usual value now, and has been for `STRIKES` steps.
    """

    def __init__(self, max_grad_norm: float) -> None:
        self._loss = Series("loss", share=0.5, least=0.5, early=1.0)
        self._norm = Series("gradient norm", share=10.0, least=max_grad_norm)
        self.explosion: Explosion | None = None

    @property
    def suspected(self) -> bool:
        """Whether one of them was far above in the last step."""
        return self._loss.strikes > 0 or self._norm.strikes > 0

    def take(self, loss: float, gradient_norm: float | None) -> None:
        """Take a step in.

        Args:
            gradient_norm: ``None`` where loss scaling skipped the step.
        """
        found = [self._loss.take(loss), None if gradient_norm is None else self._norm.take(gradient_norm)]
        self.explosion = next((one for one in found if one is not None), None)


class DivergenceWatch:
    """Reports divergence as events, and ends the training where it must or is to end.

    Args:
        options: of these, ``stop_on_divergence`` and ``max_grad_norm``.
    """

    def __init__(self, job: Job, checkpoints: Checkpoints, options: TrainingOptions) -> None:
        self._job, self._checkpoints, self._stops = job, checkpoints, options.stop_on_divergence
        self._divergence = Divergence(options.max_grad_norm)

    @property
    def withholds_checkpoints(self) -> bool:
        """Whether the weights are under suspicion in a run that fails if it proves right: the last checkpoint is to be an earlier one."""
        return self._stops and self._divergence.suspected

    def require_finite(self, value: float, what: str, step: int) -> None:
        """Refuse to take the step ``step`` with a loss or a gradient norm that is no finite number: the weights would be lost.

        Raises:
            WorkFailed: it is none; checkpoints stay.
        """
        if not math.isfinite(value):
            self._job.event("diverging", f"step {step}: the {what} is {value}", step=step, what=what, value=None, usual=None)
            raise self._error(f"the {what} became {value} at step {step}")

    def take(self, step: int, loss: float, gradient_norm: float) -> None:
        """Say when loss or gradients have exploded, and when they are as usual again.

        Args:
            step: that was taken.
            gradient_norm: infinite or NaN where loss scaling skipped the step.

        Raises:
            WorkFailed: they exploded, and ``stop_on_divergence`` is set; checkpoints stay.
        """
        before = self._divergence.explosion
        self._divergence.take(loss, gradient_norm if math.isfinite(gradient_norm) else None)
        now = self._divergence.explosion
        if before is not None and now is None:
            self._job.event("recovered", f"step {step}: loss and gradients are as usual again", step=step)
        elif before is None and now is not None:
            self._job.event("diverging", f"step {step}: {now}", step=step, what=now.what, value=now.value, usual=now.usual)
            if self._stops:
                raise self._error(f"{now}, for {STRIKES} steps up to step {step}")

    def _error(self, what: str) -> WorkFailed:
        kept = self._checkpoints.steps()
        where = f"; the checkpoint of step {kept[-1]} is kept" if kept else ""
        return WorkFailed(f"training diverged: {what}{where}", "lower learning_rate, use longer warmup_steps or a smaller max_grad_norm")
