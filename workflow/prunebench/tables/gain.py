"""The table of gains: how much each allocator adds to uniform sparsity, laid out like Tables 2 and 3 of DSA."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prunebench.suites.metrics import MEAN
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import Line, explain, groups, heads, list_columns, unstructured
from prunebench.tables.means import Mean
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class GainTable(StudyTable):
    """How much each allocator adds to uniform sparsity: its gain stands below its scores.
    Cells with n:m patterns are left out.

    The gain in perplexity is the decrease, also in percent of the perplexity with uniform sparsity. The gain in
    accuracy is the difference in points. So more is better. A gain that stands out is bold. A suite with several tasks
    is shown by the mean over them.
    """

    name = "gain"
    asked = "how much better each is than uniform sparsity"
    metrics = ("perplexity", "acc")

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Lay out a row for each line, and below that of each allocator a row with its gains; see the class."""
        labels, even = evidence.labels, evidence.even
        rows = _compared(unstructured(layout.of_study(rows, evidence.study)))
        columns = list_columns(rows)
        printed: list[tuple[str, ...]] = []
        bold: set[tuple[int, int]] = set()
        shown: list[Line] = []
        for lines in groups(rows, columns, evidence.half):
            # Uniform sparsity comes first; lines that prune all blocks come before those that prune half of them.
            for line in sorted(lines, key=lambda line: (line.half, line.allocator not in even)):
                shown.append(line)
                stub = layout.stub(line.key, rows, labels)
                printed.append((*stub, *line.entries))
                base = next((rival for rival in line.rivals(lines) if rival.allocator in even), None)
                if base and line.allocator not in even:
                    pairs = list(zip(line.means, base.means, strict=True))
                    bold |= {
                        (len(printed), column)
                        for column, (mean, over) in enumerate(pairs)
                        if mean and over and mean.stands_out(over)
                    }
                    model, method, allocator, calibration = stub
                    gains = (gain(*pair) for pair in pairs)
                    printed.append((model, method, f"Gain of {allocator}", calibration, *gains))
        return Table(
            title=layout.caption("Gains over uniform sparsity", evidence.study, labels, rows),
            stub=layout.STUB,
            columns=heads(columns, rows, labels),
            rows=printed,
            notes=[
                layout.counts(rows),
                *_meaning(rows),
                *explain(shown, "a gain that is"),
                *layout.reasons(rows, labels),
            ],
            bold=frozenset(bold),
        )


def gain(mean: Mean | None, over: Mean | None) -> str:
    """Print how much better `mean` is than `over`; the text is empty where one of them lacks a number or a seed."""
    if mean is None or over is None or mean.missing or over.missing:
        return ""
    scale = mean.scale
    better = over.shown - mean.shown if scale.lower else mean.shown - over.shown
    return (
        ("+" if better >= 0 else "")
        + scale.number(better)
        + (f" ({-math.expm1(-mean.lead(over)):+.1%})" if scale.log else "")
    )


def _compared(rows: pd.DataFrame) -> pd.DataFrame:
    """Reduce `rows` to one score for each suite of tasks: the mean over them."""
    averaged = rows["suite"].isin(rows.loc[rows["task"] == MEAN, "suite"])
    return rows[rows["metric"].isna() | ~averaged | (rows["task"] == MEAN)]


def _meaning(rows: pd.DataFrame) -> list[str]:
    """Explain in a note what a gain is, for each metric that occurs in `rows`."""
    means = {
        "perplexity": "in perplexity (lower is better): how much lower than uniform sparsity, and in percent of that",
        "acc": "in accuracy (percent, higher is better): the difference in points",
    }
    texts = [text for metric, text in means.items() if (rows["metric"] == metric).any()]
    return [f"Gain {'; '.join(texts)}. Negative: uniform sparsity is better."] if texts else []
