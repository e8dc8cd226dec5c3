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

    name = "template"  # as the file, and as `tables:` of a study calls it
    # In words, what a study gets that asks for it. Empty: it is there if a suite names it as its `table`, or where
    # `belongs` says so.
    asked = "the best of each method"
    # The metrics whose suites it shows.
    metrics = ("perplexity",)

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """`rows` are those of results/cells.csv, a row per cell, suite, task and metric; look at that file."""
        rows = layout.of_study(rows, evidence.study)
        done = rows[rows["status"] == "ok"]
        labels = evidence.labels
        lines: list[tuple[str, ...]] = []
        for (model, method, *_, task), part in done.groupby(["model", "method", *layout.POINT, "task"], sort=False):
            names = (labels.get(f"models/{model}", str(model)), labels.get(f"methods/{method}", str(method)))
            lines.append((*names, layout.point(part.iloc[0]), str(task), f"{part['value'].min():.2f}"))
        return Table(
            title=f"Lowest perplexity of each method, study {evidence.study}",
            stub=("Model", "Method", "Sparsity", "Text"),
            columns=[("", "Perplexity")],  # what stands above a group of columns, and above the column
            rows=lines,
            notes=[layout.counts(rows), *layout.reasons(rows, labels)],
        )
