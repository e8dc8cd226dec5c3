"""Means over seeds, as tables print and compare them: of the logarithm of perplexities, of accuracies as they are."""

import math
from typing import NamedTuple

import pandas as pd


class Mean(NamedTuple):
    """The mean over seeds and, of several, the standard deviation; of perplexities that of the logarithm."""

    metric: str
    """perplexity, or acc (a fraction)."""
    value: float
    spread: float | None

    @property
    def shown(self) -> float:
        """The mean in the unit of the table: the geometric mean of perplexities, accuracy in percent."""
        return math.exp(self.value) if self.metric == "perplexity" else 100 * self.value

    def __str__(self) -> str:
        if self.spread is None:
            return f"{self.shown:.2f}"
        # To first order, the deviation of a perplexity is its own size times that of its logarithm.
        return f"{self.shown:.2f} ± {self.spread * (self.shown if self.metric == 'perplexity' else 100):.2f}"

    def lead(self, other: "Mean") -> float:
        """How much better this is than `other`, in the unit of `value`; negative if it is worse."""
        return other.value - self.value if self.metric == "perplexity" else self.value - other.value

    def stands_out(self, other: "Mean") -> bool:
        """Whether this is better than `other` by more than the spread of either; without both spreads nobody knows."""
        if self.spread is None or other.spread is None:
            return False
        return self.lead(other) > max(self.spread, other.spread)


def mean(rows: pd.DataFrame) -> Mean:
    """The mean of `rows` of results/cells.csv: the seeds of one cell on one task, each with a number."""
    metric = str(rows["metric"].iloc[0])
    values = rows["value"].astype(float)
    if metric == "perplexity":
        values = values.map(math.log)
    return Mean(metric, float(values.mean()), float(values.std()) if len(values) > 1 else None)
