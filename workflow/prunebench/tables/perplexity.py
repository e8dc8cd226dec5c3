"""The perplexity table: a row per model, method and allocator; a group of columns per sparsity, a column per corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import Line, contested, explain, line, winners
from prunebench.tables.rounding import rounding_notes
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class PerplexityTable(StudyTable):
    """Perplexities, and how far rounding alone moves them where that was measured.

    Several seeds become the geometric mean and, after ±, the standard deviation of the log-perplexity times it.
    Cells without a number say why they have none. The dense model, which has no sparsity, stands in every group.

    The best of a model's rows in a column is bold if it stands out from all others that compare with it.
    """

    name = "perplexity"

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """A group of columns for each sparsity; see the class."""
        labels, half = evidence.labels, evidence.half
        mine = layout.of_study(rows, evidence.study)
        tests = layout.tests(mine)
        groups = [layout.point(row) for _, row in layout.points(mine[~mine["baseline"]]).iterrows()] or [""]
        columns = [(group, test) for group in groups for test in tests]
        shown: list[Line] = []
        bold: set[tuple[int, int]] = set()
        compared = False
        for _, of_model in mine.groupby("model", sort=False):
            lines = [line(key, part, columns, half) for key, part in of_model.groupby(layout.ROW, sort=False)]
            bold |= {(len(shown) + row, at) for row, at in winners(lines)}
            compared |= contested(lines)
            shown += lines
        rounding = rounding_notes(rows, evidence.computations, labels)
        single = mine["suite"].nunique() == 1
        best = "the best in its column, if its lead over every other is"
        return Table(
            title=f"Perplexity, lower is better, study {evidence.study}{layout.protocol(mine, labels)}",
            stub=layout.STUB,
            columns=[(group, task if single else f"{suite} {task}".strip()) for group, (suite, task) in columns],
            rows=[(*layout.stub(of.key, mine, labels), *of.entries) for of in shown],
            notes=[
                layout.counts(mine),
                *(explain(shown, best) if compared else []),
                *layout.reasons(mine, labels),
                *rounding,
            ],
            bold=frozenset(bold),
        )
