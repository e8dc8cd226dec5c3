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
    """Write notes on each method of which `cells` (perplexities) hold several computations.

    `computations` maps methods to (the name that the same work goes by, dtype, all compute settings). The rounding
    spread of a point is the relative standard deviation of its perplexity within one dtype. The difference between two
    dtypes is the difference of the mean log-perplexities. The largest value over corpora and seeds is printed.
    """
    import pandas as pd

    rows = cells[(cells["status"] == "ok") & cells["method"].isin(computations)]
    named = pd.DataFrame([computations[name] for name in rows["method"]], columns=["work", "dtype", "compute"])
    rows = rows.assign(log=rows["value"].astype(float).map(math.log), **named.set_index(rows.index))
    rows = rows.drop_duplicates([*SAME, "work", "compute"])
    notes = []
    for work, part in rows.groupby("work", sort=False):
        label = labels.get(f"methods/{work}", str(work))
        for dtype, alike in part.groupby("dtype", sort=False):
            deviations = alike.groupby(SAME)["log"].std().dropna()
            if len(deviations):
                count = alike["compute"].nunique()
                notes.append(
                    f"Rounding spread of {label} in {dtype} ({count} settings of batch size and threads): "
                    f"{_list(deviations)}."
                )
        means = part.groupby([*SAME, "dtype"], sort=False)["log"].mean().unstack("dtype")
        for other in means.columns[1:]:
            difference = (means[other] - means[means.columns[0]]).abs().dropna()
            if len(difference):
                notes.append(f"{label} in {other} instead of {means.columns[0]}: {_list(difference)}.")
    return notes


def _list(values: pd.Series[float]) -> str:
    """Print the largest of `values` (indexed by SAME) at each point."""
    largest = values.groupby(layout.POINT).max().reset_index(name="largest")
    return ", ".join(f"{layout.point(row)} {row['largest']:.2%}" for _, row in largest.iterrows())
