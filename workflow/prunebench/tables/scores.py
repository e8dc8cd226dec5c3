"""The table of any metric: a row per model, sparsity, method and allocator; a column per task and metric."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from prunebench.suites.metrics import declared, metric
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import by_point, explain
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

BEST = "the best at its sparsity, if its lead over every other is"


class ScoresTable(StudyTable):
    """The scores of suites that have no table of their own."""

    name = "scores"

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """See `scores_table`."""
        return scores_table(rows, evidence.study, evidence.labels, evidence.half)


def scores_table(
    cells: pd.DataFrame, study: str, labels: Mapping[str, str] | None = None, half: Collection[str] = ()
) -> Table:
    """Lay out the scores of `study` in the metrics that suites declare; `labels` maps catalog names to titles.

    `cells` holds the rows of results/cells.csv to be shown; `half` are the allocators that leave half of the blocks as
    they are. Several seeds are averaged, with their standard deviation after ±. Cells without a number say why they
    have none. The best of a model's rows at one sparsity is bold if it stands out from all others.
    """
    import pandas as pd

    labels = labels or {}
    mine = layout.of_study(cells, study)
    mine = mine[mine["metric"].isna() | mine["metric"].isin(list(declared()))]
    metrics = [metric(name) for name in mine["metric"].dropna().unique()]
    # A column of its own for each metric of a task.
    titles = {of.name: of.title for of in metrics}
    scores = zip(mine["task"], mine["metric"], strict=True)
    heads = [f"{labels.get(f'tasks/{task}', task)} {titles[name]}" if name in titles else None for task, name in scores]
    mine = mine.assign(task=pd.Series(heads, index=mine.index, dtype=object))
    tests = layout.tests(mine)
    made = by_point(mine, tests, labels, half)
    several = mine["suite"].nunique() > 1
    better = ", ".join(f"{of.title} ({'lower' if of.lower else 'higher'} is better)" for of in metrics)
    return Table(
        title=f"{better or 'Scores'}, study {study}{layout.protocol(mine, labels)}",
        stub=(*layout.STUB, "Sparsity"),
        columns=[(suite if several else "", task) for suite, task in tests],
        rows=made.rows,
        notes=[
            layout.counts(mine),
            *(explain(made.lines, BEST) if made.compared else []),
            *layout.reasons(mine, labels),
        ],
        bold=frozenset(made.bold),
    )
