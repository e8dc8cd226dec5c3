"""The table of any metric: a row per model, sparsity, method and allocator; a column per task and metric."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.suites.metrics import declared, metric
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import BEST, by_point, explain
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class ScoresTable(StudyTable):
    """The scores of suites that have no table of their own.
    Only metrics that suites declare are shown.

    Several seeds are averaged, with their standard deviation after ±. Cells without a number say why they have none.
    The best of a model's rows at one sparsity is bold if it stands out from all others.
    """

    name = "scores"

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Lay out a row for each sparsity and line, a column for each task and metric; see the class."""
        import pandas as pd

        labels = evidence.labels
        rows = layout.of_study(rows, evidence.study)
        rows = rows[rows["metric"].isna() | rows["metric"].isin(list(declared()))]
        metrics = {name: metric(name) for name in rows["metric"].dropna().unique()}
        # Each metric of a task has a column of its own.
        heads = [
            f"{labels.get(f'tasks/{task}', task)} {metrics[name].title}" if name in metrics else None
            for task, name in zip(rows["task"], rows["metric"], strict=True)
        ]
        rows = rows.assign(task=pd.Series(heads, index=rows.index, dtype=object))
        tests = layout.tests(rows)
        body = by_point(rows, tests, labels, evidence.half)
        ambiguous = len({task for _, task in tests}) < len(tests)
        better = ", ".join(
            f"{entry.title} ({'lower' if entry.lower else 'higher'} is better)" for entry in metrics.values()
        )
        return Table(
            title=layout.caption(better or "Scores", evidence.study, labels, rows),
            stub=(*layout.STUB, "Sparsity"),
            columns=[(suite if ambiguous or not task else "", task) for suite, task in tests],
            rows=body.rows,
            notes=[
                layout.counts(rows),
                *(explain(body.lines, BEST) if body.compared else []),
                *layout.reasons(rows, labels),
            ],
            bold=frozenset(body.bold),
        )
