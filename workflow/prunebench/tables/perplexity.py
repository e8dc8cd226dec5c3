"""The perplexity table: a row per model, method and allocator; a group of columns per sparsity, a column per corpus."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prunebench.runtime.digits import rounded
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import Line, contested, explain, lines_of, over_dense, winners
from prunebench.tables.rounding import rounding_notes
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

BEST = "the best in its column, if its lead over every other is"
RATIO = "vs dense"
_MEANING = "Vs dense: how many times higher the perplexity is than that of the dense model{}."


class PerplexityTable(StudyTable):
    """Perplexities at each sparsity, in a group of columns for each.
    Notes say how far rounding alone moves them, where that was measured.

    Several seeds become the geometric mean and, after ±, the standard deviation of the log-perplexity times that mean.
    Cells without a number say why they have none. The dense model, which has no sparsity, stands in every group, and
    beside a dense model each group ends with the ratio to it.

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
        relative = bool(rows["baseline"].any() and not rows["baseline"].all())
        shown: list[tuple[str, ...]] = []
        lines: list[Line] = []
        bold: set[tuple[int, int]] = set()
        compared = False
        for _, of_model in rows.groupby("model", sort=False):
            of_this = lines_of(of_model, columns, evidence.half)
            # In each group a column of ratios comes after those of the texts.
            bold |= {(len(lines) + row, column + relative * (column // len(tests))) for row, column in winners(of_this)}
            compared |= contested(of_this)
            lines += of_this
            for line in of_this:
                entries = _with_ratios(line, of_this, len(tests)) if relative else line.entries
                shown.append((*layout.stub(line.key, rows, labels), *entries))
        named = layout.named([(suite, layout.measured(task, labels)) for suite, task in tests])
        heads = [" ".join(filter(None, head)) for head in named]
        return Table(
            title=layout.caption("Perplexity, lower is better", evidence.study, labels, rows),
            stub=layout.STUB,
            columns=[(group, head) for group in groups for head in [*heads, *([RATIO] if relative else [])]],
            rows=shown,
            notes=[
                layout.counts(rows),
                *([_MEANING.format("" if len(tests) == 1 else ", as a geometric mean over the texts")] * relative),
                *(explain(lines, BEST) if compared else []),
                *layout.reasons(rows, labels),
                *rounding,
            ],
            bold=frozenset(bold),
        )


def _with_ratios(line: Line, lines: list[Line], tests: int) -> list[str]:
    """List the entries of `line`, and after those of each sparsity (`tests` columns) the ratio to the dense model."""
    entries: list[str] = []
    for start in range(0, len(line.entries), tests):
        at = range(start, start + tests)
        excess = None if line.baseline else over_dense(line, lines, at)
        ratio = "" if excess is None else f"{rounded(math.exp(excess), collapses=True, significant=3)}x"
        entries += [*line.entries[start : start + tests], ratio]
    return entries
