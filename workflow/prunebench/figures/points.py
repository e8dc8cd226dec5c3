"""What the figures of perplexities share: which rows make one point, and the mean and spread of its seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from prunebench.config.schema import calibration_parts
from prunebench.figures.chart import Series
from prunebench.figures.look import Look
from prunebench.tables import layout
from prunebench.tables.means import centre

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell

SERIES = ["method", "allocator", "pattern", "calibration"]


class Band(NamedTuple):
    """A geometric mean, and one standard deviation of the logarithm below and above it."""

    value: float
    low: float
    high: float


def geometric_mean(values: pd.Series[float]) -> Band:
    """The mean of several seeds; one alone has no spread."""
    if len(values) == 1:
        return Band(*[float(values.iloc[0])] * 3)
    mean, spread = centre(values, log=True)
    return Band(*(math.exp(mean + step * (spread or 0.0)) for step in (0, -1, 1)))


def line(
    rows: pd.DataFrame,
    look: Look,
    *,
    by: str,
    show: Callable[[float], str],
    form: Literal["line", "points"] = "line",
) -> Series:
    """The geometric mean of the perplexities `rows` at each number in column `by`, with a band of their spread.

    `show` gives the text of such a number. One seed alone has no band.
    """
    label = look.label(rows.iloc[0])
    points = sorted((float(str(at)), geometric_mean(part["value"])) for at, part in rows.groupby(by))
    several = rows["seed"].nunique() > 1
    return Series(
        label=label,
        style=look.style(rows.iloc[0]),
        x=[at for at, _ in points],
        y=[mean.value for _, mean in points],
        low=[mean.low for _, mean in points] if several else (),
        high=[mean.high for _, mean in points] if several else (),
        names=[f"{label}, {show(at)}" for at, _ in points],
        form=form,
    )


def bands(rows: pd.DataFrame) -> str:
    """What the bands of `line` are, if `rows` have several seeds."""
    seeds = rows["seed"].nunique()
    return f" Bands: one standard deviation over {seeds} seeds." if seeds > 1 else ""


def finished(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` without the points of which any seed has no number: those that are left would be a choice of the lucky."""
    bad = rows["status"].ne("ok").groupby([rows[key] for key in (*SERIES, "sparsity")]).transform("any")
    return rows[~bad]


def tests(rows: pd.DataFrame, look: Look) -> Iterator[tuple[str, pd.DataFrame]]:
    """(title, finished rows) of every model and task of `rows`; the title says what is not the same for all."""
    for model, of_model in rows.groupby("model", sort=False):
        for suite, task in layout.tests(of_model):
            parts = [look.title(f"models/{model}")] if rows["model"].nunique() > 1 else []
            parts += [look.title(f"suites/{suite}")] if rows["suite"].nunique() > 1 else []
            parts += [look.title(f"corpora/{task}")] if task else []
            yield ", ".join(parts), finished(layout.of_test(of_model, (suite, task)))


def dense_level(rows: pd.DataFrame, look: Look) -> dict[str, float]:
    """The dense model of finished `rows` as the level of a panel, if it is there."""
    return {
        look.title(f"methods/{method}"): geometric_mean(part["value"]).value
        for method, part in rows[rows["baseline"]].groupby("method", sort=False)
    }


def of_several_sizes(cells: Iterable[Cell]) -> list[Cell]:
    """Those of `cells` beside which there are others that differ in the number of calibration samples, seeds apart.

    Samples are the same only if corpus and length are.
    """
    sizes: dict[tuple[object, ...], dict[Cell, int]] = {}
    for cell in cells:
        if cell.calibrated:
            corpus, samples, seqlen = calibration_parts(cell.calibration)
            key = (cell.model, cell.method, cell.allocator, cell.point, corpus, seqlen)
            sizes.setdefault(key, {})[cell] = samples
    return [cell for of in sizes.values() if len({*of.values()}) > 1 for cell in of]
