"""The table of any metric: a row per model, sparsity, method and allocator; a column per task and metric."""

from __future__ import annotations

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
    """The scores, in the metrics that suites declare, of suites that have no table of their own.

    Several seeds are averaged, with their standard deviation after ±. Cells without a number say why they have none.
    The best of a model's rows at one sparsity is bold if it stands out from all others.
    """

    name = "scores"

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """A row for each sparsity and line, a column for each task and metric; see the class."""
        import pandas as pd

        labels, half = evidence.labels, evidence.half
        mine = layout.of_study(rows, evidence.study)
        mine = mine[mine["metric"].isna() | mine["metric"].isin(list(declared()))]
        metrics = [metric(name) for name in mine["metric"].dropna().unique()]
        # A column of its own for each metric of a task.
        titles = {of.name: of.title for of in metrics}
        scores = zip(mine["task"], mine["metric"], strict=True)
        heads = [
            f"{labels.get(f'tasks/{task}', task)} {titles[name]}" if name in titles else None for task, name in scores
        ]
        mine = mine.assign(task=pd.Series(heads, index=mine.index, dtype=object))
        tests = layout.tests(mine)
        made = by_point(mine, tests, labels, half)
        several = mine["suite"].nunique() > 1
        better = ", ".join(f"{of.title} ({'lower' if of.lower else 'higher'} is better)" for of in metrics)
        return Table(
            title=f"{better or 'Scores'}, study {evidence.study}{layout.protocol(mine, labels)}",
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
