"""Making one figure of one study, as data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench import registry
from prunebench.figures.chart import Chart
from prunebench.tables.base import Evidence
from prunebench.tables.make import partly_pruned

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.plan.plan import Plan
    from prunebench.results.detail import Records


def make_chart(plan: Plan, cells: pd.DataFrame, records: Records, study: str, figure: str) -> Chart:
    """Make `figure` of `study` as data; `cells` are the rows of results/cells.csv."""
    kind = registry.load("figures", figure)
    chart: Chart = kind().make(Evidence(plan, study, cells, records))
    if kind.cells(plan.shown, study):
        chart.notes.extend(partly_pruned(plan, study))
    return chart
