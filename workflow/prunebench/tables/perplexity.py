"""The perplexity table: a row per model, method and allocator; a group of columns per sparsity, a column per corpus."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING

from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import Line, contested, explain, line, winners
from prunebench.tables.rounding import rounding_notes
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class PerplexityTable(StudyTable):
    """Perplexities, and how far rounding alone moves them where that was measured."""

    name = "perplexity"

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """See `perplexity_table`."""
        made = perplexity_table(rows, evidence.study, evidence.labels, evidence.half)
        made.notes.extend(rounding_notes(rows, evidence.plan.shown.computations(), evidence.labels))
        return made


def perplexity_table(
    cells: pd.DataFrame, study: str, labels: Mapping[str, str] | None = None, half: Collection[str] = ()
) -> Table:
    """Lay out the perplexities of `study`; `labels` maps catalog names to titles.

    `cells` holds the rows of results/cells.csv whose suites measure perplexity; `half` are the allocators that leave
    half of the blocks as they are.

    Several seeds become the geometric mean and, after ±, the standard deviation of the log-perplexity times it.
    Cells without a number say why they have none. The dense model, which has no sparsity, stands in every group.

    The best of a model's rows in a column is bold if it stands out from all others that compare with it.
    """
    labels = labels or {}
    mine = layout.of_study(cells, study)
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
    single = mine["suite"].nunique() == 1
    best = "the best in its column, if its lead over every other is"
    return Table(
        title=f"Perplexity, lower is better, study {study}{layout.protocol(mine, labels)}",
        stub=layout.STUB,
        columns=[(group, task if single else f"{suite} {task}".strip()) for group, (suite, task) in columns],
        rows=[(*layout.stub(of.key, mine, labels), *of.entries) for of in shown],
        notes=[layout.counts(mine), *(explain(shown, best) if compared else []), *layout.reasons(mine, labels)],
        bold=frozenset(bold),
    )
