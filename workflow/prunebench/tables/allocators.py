"""The table of allocators: a group of rows per model and method, a row per allocator; laid out as Table 4 of DSA."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import columns, explain, groups, heads, unstructured, wins
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class AllocatorsTable(StudyTable):
    """Perplexities by allocator, without n:m patterns, where allocators decide nothing.

    Several seeds, cells without a number and the dense model are shown as in the perplexity table. The best of the
    rivals in a column is bold if it stands out from all others.
    """

    name = "allocators"
    asked = "a row per allocator, method by method"
    metrics = ("perplexity",)

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """A group of rows for each model and method; see the class."""
        labels, half = evidence.labels, evidence.half
        mine = unstructured(layout.of_study(rows, evidence.study))
        wanted = columns(mine)
        grouped = list(groups(mine, wanted, half))
        shown = [(line, lines) for lines in grouped for line in lines]
        best = "the best allocator of a method in its column, if its lead over every other is"
        return Table(
            title=f"Perplexity by allocator, lower is better, study {evidence.study}{layout.protocol(mine, labels)}",
            stub=layout.STUB,
            columns=heads(wanted, mine, labels),
            rows=[(*layout.stub(line.key, mine, labels), *line.entries) for line, _ in shown],
            notes=[layout.counts(mine), *explain([line for line, _ in shown], best), *layout.reasons(mine, labels)],
            bold=frozenset(
                (row, at)
                for row, (line, lines) in enumerate(shown)
                for at in range(len(wanted))
                if wins(line, lines, at)
            ),
        )
