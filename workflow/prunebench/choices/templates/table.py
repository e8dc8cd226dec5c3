"""Template: one line that says what a row is. (This file works as it is: change it step by step.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class Template(StudyTable):
    """The lowest perplexity of each method at each sparsity, whatever its allocator and seed."""

    name = "template"  # the name of the file, and the name under `tables:` of a study
    # These words say what a study gets that asks for the table. If they are empty, a study has the table if a suite
    # names it as its `table`, or if `belongs` says so.
    asked = "the best of each method"
    # The table shows the suites of these metrics.
    metrics = ("perplexity",)

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Make the table from `rows`: those of results/cells.csv, one for each cell, suite, task and metric."""
        rows = layout.of_study(rows, evidence.study)
        done = rows[rows["status"] == "ok"]
        labels = evidence.labels
        lines: list[tuple[str, ...]] = []
        for (model, method, *_, task), part in done.groupby(["model", "method", *layout.POINT, "task"], sort=False):
            names = (labels.get(f"models/{model}", str(model)), labels.get(f"methods/{method}", str(method)))
            lines.append((*names, layout.point(part.iloc[0]), str(task), f"{part['value'].min():.2f}"))
        return Table(
            title=layout.caption("Lowest perplexity of each method", evidence.study, labels),
            stub=("Model", "Method", "Sparsity", "Text"),
            columns=[("", "Perplexity")],  # the head of a group of columns, and of the column
            rows=lines,
            notes=[layout.counts(rows), *layout.reasons(rows, labels)],
        )
