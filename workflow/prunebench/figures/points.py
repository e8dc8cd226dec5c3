"""The points of the figures of perplexities: which rows make one point, and the mean and deviation over its seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from prunebench.config.schema import calibration_parts
from prunebench.figures.chart import Series
from prunebench.figures.look import Look
from prunebench.suites.metrics import MEAN
from prunebench.tables import layout
from prunebench.tables.means import centre

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell

SERIES = ["method", "allocator", "pattern", "calibration"]


class Band(NamedTuple):
    """A geometric mean, and the values one standard deviation of the logarithm below and above it."""

    value: float
    low: float
    high: float


def geometric_mean(values: pd.Series[float]) -> Band:
    """Compute the geometric mean over seeds. The band of a single seed has no width."""
    if len(values) == 1:
        return Band(*[float(values.iloc[0])] * 3)
    mean, deviation = centre(values, log=True)
    return Band(*(math.exp(mean + step * (deviation or 0.0)) for step in (0, -1, 1)))


def line(
    rows: pd.DataFrame,
    look: Look,
    *,
    by: str,
    show: Callable[[float], str],
    form: Literal["line", "points"] = "line",
) -> Series:
    """Draw the geometric mean of the perplexities `rows` at each number in column `by`, with a band over seeds.

    `show` gives the text of such a number. A single seed has no band.
    """
    label = look.label(rows.iloc[0])
    points = sorted((float(str(number)), geometric_mean(part["value"])) for number, part in rows.groupby(by))
    several = rows["seed"].nunique() > 1
    return Series(
        label=label,
        style=look.style(rows.iloc[0]),
        x=[number for number, _ in points],
        y=[mean.value for _, mean in points],
        low=[mean.low for _, mean in points] if several else (),
        high=[mean.high for _, mean in points] if several else (),
        names=[f"{label}, {show(number)}" for number, _ in points],
        form=form,
    )


def bands(rows: pd.DataFrame) -> str:
    """Explain the bands of `line` in a note, if `rows` have several seeds."""
    seeds = rows["seed"].nunique()
    return f" Bands: one standard deviation over {seeds} seeds." if seeds > 1 else ""


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out the points where any seed has no number: the other seeds would be a choice of the lucky ones."""
    bad = rows["status"].ne("ok").groupby([rows[key] for key in (*SERIES, "sparsity")]).transform("any")
    return rows[~bad]


def tests(rows: pd.DataFrame, look: Look) -> Iterator[tuple[str, pd.DataFrame]]:
    """Yield (title, finished rows) for every model and task of `rows`; the title says what differs between panels."""
    for model, of_model in rows.groupby("model", sort=False):
        for suite, task in layout.tests(of_model):
            parts = [look.title(f"models/{model}")] if rows["model"].nunique() > 1 else []
            parts += [look.title(f"suites/{suite}")] if rows["suite"].nunique() > 1 else []
            parts += [_task(task, look)] if task else []
            yield ", ".join(parts), finished(layout.of_test(of_model, (suite, task)))


def _task(task: str, look: Look) -> str:
    return "Mean over tasks" if task == MEAN else layout.measured(task, look.labels)


def dense_level(rows: pd.DataFrame, look: Look) -> dict[str, float]:
    """Make the level of a panel for each method that leaves the model as it is, from finished `rows`."""
    return {
        look.title(f"methods/{method}"): geometric_mean(part["value"]).value
        for method, part in rows[rows["baseline"]].groupby("method", sort=False)
    }


def of_several_sizes(cells: Iterable[Cell]) -> list[Cell]:
    """Select the `cells` beside which there are others that differ only in the number of samples, and in the seed.

    Samples are of one kind only if corpus and length are the same.
    """
    sizes: dict[tuple[object, ...], dict[Cell, int]] = {}
    for cell in cells:
        if cell.calibrated:
            corpus, samples, seqlen = calibration_parts(cell.calibration)
            key = (cell.model, cell.method, cell.allocator, cell.point, corpus, seqlen)
            sizes.setdefault(key, {})[cell] = samples
    return [cell for group in sizes.values() if len({*group.values()}) > 1 for cell in group]
