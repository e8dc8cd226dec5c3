"""The perplexity table: a row per model, method and allocator; a group of columns per sparsity, a column per corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import Line, contested, explain, lines_of, winners
from prunebench.tables.rounding import rounding_notes
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class PerplexityTable(StudyTable):
    """Perplexities at each sparsity, in a group of columns for each.
    Notes say how far rounding alone moves them, where that was measured.

    Several seeds become the geometric mean and, after ±, the standard deviation of the log-perplexity times that mean.
    Cells without a number say why they have none. The dense model, which has no sparsity, stands in every group.

    The best of a model's rows in a column is bold if it stands out from all others that compare with it.
    """

    name = "perplexity"

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Lay out a group of columns for each sparsity; see the class."""
        labels = evidence.labels
        rounding = rounding_notes(rows, evidence.computations, labels)
        rows = layout.of_study(rows, evidence.study)
        tests = layout.tests(rows)
        groups = [layout.point(row) for _, row in layout.points(rows[~rows["baseline"]]).iterrows()] or [""]
        columns = [(group, test) for group in groups for test in tests]
        shown: list[Line] = []
        bold: set[tuple[int, int]] = set()
        compared = False
        for _, of_model in rows.groupby("model", sort=False):
            lines = lines_of(of_model, columns, evidence.half)
            bold |= {(len(shown) + row, column) for row, column in winners(lines)}
            compared |= contested(lines)
            shown += lines
        single = rows["suite"].nunique() == 1
        best = "the best in its column, if its lead over every other is"
        return Table(
            title=f"Perplexity, lower is better, study {evidence.study}{layout.protocol(rows, labels)}",
            stub=layout.STUB,
            columns=[(group, task if single else f"{suite} {task}".strip()) for group, (suite, task) in columns],
            rows=[(*layout.stub(line.key, rows, labels), *line.entries) for line in shown],
            notes=[
                layout.counts(rows),
                *(explain(shown, best) if compared else []),
                *layout.reasons(rows, labels),
                *rounding,
            ],
            bold=frozenset(bold),
        )
