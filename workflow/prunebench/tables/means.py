"""Means over seeds, as tables print and compare them: of the logarithm of perplexities, of accuracies as they are."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from prunebench.cell import NO_CALIBRATION
from prunebench.formulas.wilson import wilson, wilson_error
from prunebench.results.paired import interval
from prunebench.suites.metrics import MEAN, Metric, metric

if TYPE_CHECKING:
    import pandas as pd

ERRORS = 1.96
"""The half of a 95% interval, in standard errors."""


class Mean(NamedTuple):
    """The mean of a score over seeds and, if there are several, its standard deviation.

    Both are taken of the logarithm for metrics whose `log` is true, such as perplexity.
    """

    metric: str
    """The name of the metric."""
    value: float
    deviation: float | None
    """The standard deviation over seeds; None for a single seed."""
    losses: tuple[float, ...] | None = None
    """The loss of each window of the text behind a perplexity, averaged over seeds; None if it is not known."""
    stderr: float | None = None
    """The standard error that an accuracy has because it rests on a sample of rows, the same rows for every seed."""
    seeds: int = 1
    """The number of seeds that have a number."""
    missing: int = 0
    """The number of seeds that have not run yet."""
    calibrated: bool = False
    """Whether the cell looks at calibration text, so that another seed would give another number."""
    bounds: tuple[float, float] | None = None
    """Wilson's 95% interval of an accuracy that is 0 or 1, whose standard error of 0 says nothing."""

    @property
    def scale(self) -> Metric:
        """How the metric is averaged, compared and printed."""
        return metric(self.metric)

    @property
    def shown(self) -> float:
        """The mean in the unit of the table: the geometric mean of perplexities, accuracy in percent."""
        return self.scale.printed(math.exp(self.value) if self.scale.log else self.value)

    def __str__(self) -> str:
        show = self.scale.number
        if self.deviation is None:
            return f"{show(self.shown)}{self.within}{self.so_far}"
        # To first order, the deviation of a perplexity is the perplexity times the deviation of its logarithm.
        deviation = self.deviation * self.shown if self.scale.log else self.scale.printed(self.deviation)
        return f"{show(self.shown)} ± {show(deviation, self.shown)}{self.so_far}"

    @property
    def within(self) -> str:
        """The interval of an accuracy of 0 or 1, as in " (0.0 to 7.1)"; an empty text for any other score."""
        if self.bounds is None:
            return ""
        low, high = map(self.scale.printed, self.bounds)
        return f" ({low:.1f} to {high:.1f})"

    @property
    def so_far(self) -> str:
        """How many of the seeds the mean rests on, as in " (2 of 3)"; an empty text if it rests on all of them."""
        return f" ({self.seeds} of {self.seeds + self.missing})" if self.missing else ""

    def lead(self, other: Mean) -> float:
        """Compute how much better this is than `other`, in the unit of `value`; it is negative if this is worse."""
        return other.value - self.value if self.scale.lower else self.value - other.value

    def stands_out(self, other: Mean) -> bool:
        """Say whether this is better than `other` beyond the chance of the text or rows, and of the seeds.

        Seeds count where there are several; one seed says nothing beside a mean over several. Without a loss for each
        window, or standard errors, both means must have a deviation over seeds; otherwise nobody knows, and the answer
        is no, as it is while seeds are missing.
        """
        if self.missing or other.missing or self._chance_of_one_seed(other):
            return False
        deviations = [mean.deviation for mean in (self, other) if mean.deviation is not None]
        if self.lead(other) <= max([0.0, *deviations]):
            return False
        sure = self._sure(other)
        return len(deviations) == 2 if sure is None else sure

    def _chance_of_one_seed(self, other: Mean) -> bool:
        """Say whether one mean is of a single draw of text, and the other of several draws."""
        one, several = sorted((self, other), key=lambda mean: mean.seeds)
        return one.calibrated and one.seeds == 1 < several.seeds

    def _sure(self, other: Mean) -> bool | None:
        """Say whether the 95% interval of the lead over text or rows is above zero; None if it is not known."""
        if self.losses and other.losses and len(self.losses) == len(other.losses) > 1:
            return interval(other.losses, self.losses)[0] > 0
        if self.stderr is not None and other.stderr is not None:
            # Both answered the same rows, so this is on the safe side: their errors mostly go together.
            return self.lead(other) > ERRORS * math.hypot(self.stderr, other.stderr)
        return None


def mean(rows: pd.DataFrame) -> Mean:
    """Average `rows` of results/cells.csv: the seeds of one cell on one task. Seeds without a number are counted.

    Where they have a column `losses`, it holds the losses of the windows behind each perplexity, or None.
    """
    missing = int((rows["status"] != "ok").sum())
    rows = rows[rows["status"] == "ok"]
    name = str(rows["metric"].iloc[0])
    value, deviation = centre(rows["value"], log=metric(name).log)
    errors = rows["stderr"].astype(float)
    stderr = float(errors.mean()) if errors.notna().all() and not metric(name).log else None
    calibrated = bool((rows["calibration"] != NO_CALIBRATION).any())
    bounds = _bounds(rows, name, value)
    return Mean(name, value, deviation, _losses(rows), stderr, len(rows), missing, calibrated, bounds)


def with_errors(cells: pd.DataFrame) -> pd.DataFrame:
    """Give each accuracy of 0 or 1 in the rows of results/cells.csv the standard error of Wilson's interval.

    The error of a mean over tasks holds these already.
    """
    certain = _is_certain(cells)
    if not certain.any():
        return cells
    errors = cells["stderr"].astype(float).copy()
    for place in cells.index[certain]:
        errors[place] = wilson_error(cells["value"][place], cells["n"][place])
    return cells.assign(stderr=errors)


def _is_certain(cells: pd.DataFrame) -> pd.Series[bool]:
    """Say of each row whether it is the accuracy of one task, and 0 or 1 without a standard error of its own."""
    percent = cells["metric"].map(lambda name: metric(name).percent, na_action="ignore").eq(True)
    single = cells["status"].eq("ok") & cells["task"].ne(MEAN)
    return single & percent & cells["value"].isin([0.0, 1.0]) & ~cells["stderr"].astype(float).gt(0)


def _bounds(rows: pd.DataFrame, name: str, value: float) -> tuple[float, float] | None:
    """Return Wilson's interval if the accuracies of all seeds are 0, or all are 1; else None."""
    if not metric(name).percent or value not in (0.0, 1.0) or (rows["task"] == MEAN).any():
        return None
    return wilson(value, float(rows["n"].max()))


def centre(values: pd.Series[float], *, log: bool) -> tuple[float, float | None]:
    """Compute the mean and the standard deviation (None for a single value) of `values`, or of their logarithms."""
    values = values.astype(float)
    values = values.map(math.log) if log else values
    return float(values.mean()), float(values.std()) if len(values) > 1 else None


def _losses(rows: pd.DataFrame) -> tuple[float, ...] | None:
    """Average the loss of each window over the seeds, if all have losses and of equally many windows; else None."""
    losses = [windows for windows in rows["losses"] if windows is not None] if "losses" in rows else []
    if not losses or len(losses) < len(rows) or len({len(windows) for windows in losses}) > 1:
        return None
    import numpy as np

    return tuple(map(float, np.mean(losses, axis=0)))
