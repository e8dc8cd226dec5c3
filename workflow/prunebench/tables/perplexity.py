"""The perplexity table: a row per model, method and allocator; a group of columns per sparsity, a column per corpus."""

from collections.abc import Mapping

import pandas as pd

from prunebench.tables import layout
from prunebench.tables.means import mean
from prunebench.tables.table import Table


def perplexity_table(cells: pd.DataFrame, study: str, labels: Mapping[str, str] | None = None) -> Table:
    """Lay out the perplexities of `study`; `labels` maps catalog names to titles.

    `cells` holds the rows of results/cells.csv whose suites measure perplexity.

    Several seeds become the geometric mean and, after ±, the standard deviation of the log-perplexity times it.
    Cells without a number say why they have none. The dense model, which has no sparsity, stands in every group.
    """
    labels = labels or {}
    mine = layout.of_study(cells, study)
    tests = layout.tests(mine)
    groups = [layout.point(row) for _, row in layout.points(mine[mine["method"] != "dense"]).iterrows()] or [""]
    columns = [(group, test) for group in groups for test in tests]
    rows = []
    for _, of_model in mine.groupby("model", sort=False):
        for key, part in of_model.groupby(layout.ROW, sort=False):
            points = part.apply(layout.point, axis=1)
            dense = (part["method"] == "dense").all()
            entries = [layout.entry(part if dense else part[points == group], test, _show) for group, test in columns]
            rows.append((*layout.stub(key, mine, labels), *entries))
    single = mine["suite"].nunique() == 1
    return Table(
        title=f"Perplexity, lower is better, study {study}{layout.protocol(mine, labels)}",
        stub=layout.STUB,
        columns=[(group, task if single else f"{suite} {task}".strip()) for group, (suite, task) in columns],
        rows=rows,
        notes=[layout.counts(mine), *layout.reasons(mine, labels)],
    )


def _show(rows: pd.DataFrame) -> str:
    return str(mean(rows))
