"""Rounding spread: how far the same cell moves when only dtype, batch size or threads of its computation differ."""

import math
from collections.abc import Mapping

import pandas as pd

from prunebench.tables import layout

SAME = ["model", "allocator", *layout.POINT, "calibration", "seed", "suite", "task"]


def rounding_notes(cells: pd.DataFrame, twins: Mapping[str, str], labels: Mapping[str, str]) -> list[str]:
    """One note per method of which `cells` (perplexities) hold several computations.

    `twins` maps the catalog names of methods that differ in nothing but their compute settings to one of them. The
    spread of a point is the relative standard deviation of its perplexity, the largest over all corpora and seeds.
    """
    mine = cells[(cells["status"] == "ok") & cells["method"].isin(twins)]
    notes = []
    for method, part in mine.groupby(mine["method"].map(twins), sort=False):
        logs = part.assign(log=part["value"].astype(float).map(math.log)).groupby(SAME)["log"]
        spread = logs.std()[logs.size() > 1].groupby(layout.POINT).max()
        if len(spread):
            rows = spread.reset_index(name="spread").iterrows()
            shown = [f"{layout.point(row)} {row['spread']:.2%}" for _, row in rows]
            settings = part["method"].nunique()
            notes.append(
                f"Rounding spread of {labels.get(str(method), str(method))} "
                f"({settings} settings of dtype, batch size and threads): {', '.join(shown)}."
            )
    return notes
