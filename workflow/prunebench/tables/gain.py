"""The table of gains: what each allocator adds to uniform sparsity; laid out as Tables 2 and 3 of DSA."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from prunebench.suites.metrics import MEAN
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import Line, columns, explain, groups, heads, unstructured
from prunebench.tables.means import Mean
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class GainTable(StudyTable):
    """What each allocator adds to uniform sparsity: below its scores, its gain. n:m patterns are left out.

    A gain is how much lower the perplexity is, and that in percent of the perplexity with uniform sparsity; of an
    accuracy it is the difference in points. So more is better. A gain that stands out is bold. Of suites with several
    tasks the mean over them is shown.
    """

    name = "gain"
    asked = "how much better each is than uniform sparsity"
    metrics = ("perplexity", "acc")

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Below the row of each allocator one of its gains; see the class."""
        labels, even = evidence.labels, evidence.even
        mine = _compared(unstructured(layout.of_study(rows, evidence.study)))
        wanted = columns(mine)
        made: list[tuple[str, ...]] = []
        bold: set[tuple[int, int]] = set()
        shown: list[Line] = []
        for lines in groups(mine, wanted, evidence.half):
            # Uniform sparsity first, of all blocks before of half of them.
            for line in sorted(lines, key=lambda line: (line.half, line.allocator not in even)):
                shown.append(line)
                stub = layout.stub(line.key, mine, labels)
                made.append((*stub, *line.entries))
                base = next((rival for rival in line.rivals(lines) if rival.allocator in even), None)
                if base and line.allocator not in even:
                    pairs = list(zip(line.means, base.means, strict=True))
                    bold |= {
                        (len(made), at) for at, (of, over) in enumerate(pairs) if of and over and of.stands_out(over)
                    }
                    model, method, allocator, calibration = stub
                    made.append((model, method, f"Gain of {allocator}", calibration, *(gain(*pair) for pair in pairs)))
        return Table(
            title=f"Gains over uniform sparsity, study {evidence.study}{layout.protocol(mine, labels)}",
            stub=layout.STUB,
            columns=heads(wanted, mine, labels),
            rows=made,
            notes=[
                layout.counts(mine),
                *_meaning(mine),
                *explain(shown, "a gain that is"),
                *layout.reasons(mine, labels),
            ],
            bold=frozenset(bold),
        )


def gain(mean: Mean | None, over: Mean | None) -> str:
    """How much better `mean` is than `over`, as the table prints it; nothing where one of them has no number."""
    if mean is None or over is None:
        return ""
    scale = mean.scale
    better = over.shown - mean.shown if scale.lower else mean.shown - over.shown
    return f"{better:+.{scale.digits}f}" + (f" ({-math.expm1(-mean.lead(over)):+.1%})" if scale.log else "")


def _compared(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` with one score of each suite of tasks: the mean over them."""
    averaged = rows["suite"].isin(rows.loc[rows["task"] == MEAN, "suite"])
    return rows[rows["metric"].isna() | ~averaged | (rows["task"] == MEAN)]


def _meaning(rows: pd.DataFrame) -> list[str]:
    """What a gain is of each metric that there is."""
    means = {
        "perplexity": "in perplexity (lower is better): how much lower than uniform sparsity, and in percent of that",
        "acc": "in accuracy (percent, higher is better): the difference in points",
    }
    texts = [text for metric, text in means.items() if (rows["metric"] == metric).any()]
    return [f"Gain {'; '.join(texts)}. Negative: uniform sparsity is better."] if texts else []
