"""Rounding spread: how far the same cell moves when only the batch size, threads or dtype of its computation differ."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

SAME = ["model", "allocator", *layout.POINT, "calibration", "seed", "suite", "task"]


def rounding_notes(
    cells: pd.DataFrame, computations: Mapping[str, tuple[str, str, str]], labels: Mapping[str, str]
) -> list[str]:
    """Notes on each method of which `cells` (perplexities) hold several computations.

    `computations` maps methods to (the name that the same work goes by, dtype, all compute settings). The spread of a
    point is the relative standard deviation of its perplexity within one dtype; the difference of two dtypes is that
    of the mean log-perplexities. Of several corpora and seeds the largest is taken.
    """
    import pandas as pd

    mine = cells[(cells["status"] == "ok") & cells["method"].isin(computations)]
    named = pd.DataFrame([computations[name] for name in mine["method"]], columns=["work", "dtype", "compute"])
    mine = mine.assign(log=mine["value"].astype(float).map(math.log), **named.set_index(mine.index))
    mine = mine.drop_duplicates([*SAME, "work", "compute"])
    notes = []
    for work, part in mine.groupby("work", sort=False):
        label = labels.get(f"methods/{work}", str(work))
        for dtype, same in part.groupby("dtype", sort=False):
            logs = same.groupby(SAME)["log"]
            spread = logs.std()[logs.size() > 1]
            if len(spread):
                count = same["compute"].nunique()
                notes.append(
                    f"Rounding spread of {label} in {dtype} ({count} settings of batch size and threads): "
                    f"{_list(spread)}."
                )
        means = part.groupby([*SAME, "dtype"], sort=False)["log"].mean().unstack("dtype")
        for other in means.columns[1:]:
            difference = (means[other] - means[means.columns[0]]).abs().dropna()
            if len(difference):
                notes.append(f"{label} in {other} instead of {means.columns[0]}: {_list(difference)}.")
    return notes


def _list(values: pd.Series[float]) -> str:
    """The largest of `values` (indexed as SAME) at each point."""
    largest = values.groupby(layout.POINT).max().reset_index(name="largest")
    return ", ".join(f"{layout.point(row)} {row['largest']:.2%}" for _, row in largest.iterrows())
