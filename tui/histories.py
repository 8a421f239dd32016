"""A run's figures over its steps, folded from the lines of its metrics as they come, and how each is shown."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .format import figure, human_count, scientific
from .widgets.series import Series

if TYPE_CHECKING:
    from ..core.runs.spec import MetricLine


@dataclass(frozen=True, slots=True)
class Quantity:
    """What a plot can show of runs.

    Attributes:
        key: of a line of metrics.
        title: for people.
        write: a value with as many places as it deserves.
        smooth: whether its moving average is drawn; else the values as they are.
    """

    key: str
    title: str
    write: Callable[[float], str]
    smooth: bool = True


QUANTITIES: tuple[Quantity, ...] = (
    Quantity("loss", "Training loss", figure),
    Quantity("eval_loss", "Evaluation loss", figure, smooth=False),
    Quantity("learning_rate", "Learning rate", scientific, smooth=False),
    Quantity("grad_norm", "Gradient norm", figure),
    Quantity("tokens_per_second", "Tokens/s", human_count),
)


class History:
    """All `QUANTITIES` of one run; of steps that a resumed attempt trained again only the new values."""

    def __init__(self) -> None:
        self.series: dict[str, Series] = {quantity.key: Series() for quantity in QUANTITIES}

    def __getitem__(self, key: str) -> Series:
        return self.series[key]

    def take(self, lines: Iterable[MetricLine]) -> None:
        """Fold lines in, in the order in which they were written."""
        columns = [(name, series.add) for name, series in self.series.items()]
        for line in lines:
            for name, add in columns:
                value = getattr(line, name)
                if value is not None:
                    add(line.step, value)
