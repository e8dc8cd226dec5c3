"""The table of allocators: a group of rows per model and method, a row per allocator, laid out like Table 4 of DSA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import explain, groups, heads, list_columns, unstructured, wins
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class AllocatorsTable(StudyTable):
    """Perplexities with each allocator, method by method.
    Cells with n:m patterns are left out, because allocators decide nothing there.

    Several seeds, cells without a number and the dense model are shown as in the perplexity table. The best of the
    rivals in a column is bold if it stands out from all others.
    """

    name = "allocators"
    asked = "a row per allocator, method by method"
    metrics = ("perplexity",)

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Lay out a group of rows for each model and method; see the class."""
        labels = evidence.labels
        rows = unstructured(layout.of_study(rows, evidence.study))
        columns = list_columns(rows)
        shown = [(line, lines) for lines in groups(rows, columns, evidence.half) for line in lines]
        best = "the best allocator of a method in its column, if its lead over every other is"
        return Table(
            title=layout.caption("Perplexity by allocator, lower is better", evidence.study, labels, rows),
            stub=layout.STUB,
            columns=heads(columns, rows, labels),
            rows=[(*layout.stub(line.key, rows, labels), *line.entries) for line, _ in shown],
            notes=[layout.counts(rows), *explain([line for line, _ in shown], best), *layout.reasons(rows, labels)],
            bold=frozenset(
                (row, column)
                for row, (line, lines) in enumerate(shown)
                for column in range(len(columns))
                if wins(line, lines, column)
            ),
        )
