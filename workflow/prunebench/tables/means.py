"""Means over seeds, as tables print and compare them: of the logarithm of perplexities, of accuracies as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from prunebench.results.paired import interval
from prunebench.suites.metrics import Metric, metric

if TYPE_CHECKING:
    import pandas as pd

ERRORS = 1.96
"""So many standard errors are the half of a 95% interval."""


class Mean(NamedTuple):
    """The mean over seeds and, of several, the standard deviation; of perplexities that of the logarithm.

    Logarithms are taken of all metrics whose `log` says so.
    """

    metric: str
    """Its name."""
    value: float
    spread: float | None
    losses: tuple[float, ...] | None = None
    """Of a perplexity, the loss of each window of the text, averaged over seeds; None if it is not known."""
    stderr: float | None = None
    """Of an accuracy, the standard error of the sample of rows, which is the same rows for every seed."""

    @property
    def scale(self) -> Metric:
        """The metric."""
        return metric(self.metric)

    @property
    def shown(self) -> float:
        """The mean in the unit of the table: the geometric mean of perplexities, accuracy in percent."""
        return self.scale.printed(math.exp(self.value) if self.scale.log else self.value)

    def __str__(self) -> str:
        digits = self.scale.digits
        if self.spread is None:
            return f"{self.shown:.{digits}f}"
        # To first order, the deviation of a perplexity is its own size times that of its logarithm.
        spread = self.spread * self.shown if self.scale.log else self.scale.printed(self.spread)
        return f"{self.shown:.{digits}f} ± {spread:.{digits}f}"

    def lead(self, other: Mean) -> float:
        """How much better this is than `other`, in the unit of `value`; negative if it is worse."""
        return other.value - self.value if self.scale.lower else self.value - other.value

    def stands_out(self, other: Mean) -> bool:
        """Whether this is better than `other` beyond chance: of the text or rows, and of the seeds where several are.

        Without a loss for each window, or standard errors, there must be spreads of both; otherwise nobody knows.
        """
        spreads = [mean.spread for mean in (self, other) if mean.spread is not None]
        if self.lead(other) <= max([0.0, *spreads]):
            return False
        sure = self._sure(other)
        return len(spreads) == 2 if sure is None else sure

    def _sure(self, other: Mean) -> bool | None:
        """Whether the 95% interval of the lead over text or rows is above zero; None if it is not known."""
        if self.losses and other.losses and len(self.losses) == len(other.losses) > 1:
            return interval(other.losses, self.losses)[0] > 0
        if self.stderr is not None and other.stderr is not None:
            # Both answered the same rows, so this is on the safe side: their errors mostly go together.
            return self.lead(other) > ERRORS * math.hypot(self.stderr, other.stderr)
        return None


def mean(rows: pd.DataFrame) -> Mean:
    """The mean of `rows` of results/cells.csv: the seeds of one cell on one task, each with a number.

    Where they have a column `losses`, it holds the losses of the windows behind each perplexity, or None.
    """
    name = str(rows["metric"].iloc[0])
    value, spread = centre(rows["value"], log=metric(name).log)
    errors = rows["stderr"].astype(float)
    stderr = float(errors.mean()) if errors.notna().all() and not metric(name).log else None
    return Mean(name, value, spread, _losses(rows), stderr)


def centre(values: pd.Series[float], *, log: bool) -> tuple[float, float | None]:
    """Mean and standard deviation (None of a single value) of `values`, with `log` of their logarithms."""
    values = values.astype(float)
    values = values.map(math.log) if log else values
    return float(values.mean()), float(values.std()) if len(values) > 1 else None


def _losses(rows: pd.DataFrame) -> tuple[float, ...] | None:
    """The loss of each window, averaged over seeds, if all have them and of as many windows."""
    found = list(rows["losses"]) if "losses" in rows else []
    known = [losses for losses in found if losses is not None]
    if not known or len(known) < len(found) or len({len(losses) for losses in known}) > 1:
        return None
    import numpy as np

    return tuple(map(float, np.mean(known, axis=0)))
