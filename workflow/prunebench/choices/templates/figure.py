"""Template: one line that says what is drawn. (This file works as it is: change it step by step.)"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series
from prunebench.figures.points import SERIES
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.figures.look import Look


class Template(StudyFigure):
    """Seconds of pruning against sparsity."""

    name = "template"  # the name of the file
    order = 90  # its place in the report
    # A study has the figure if it measures one of these on pruned cells; `cells` and `inputs` can change this rule.
    metrics = ("perplexity",)

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Make the figure from rows of results/cells.csv; `look` knows the labels and colours of the study."""
        drawn = cells[~cells["baseline"] & cells["prune_seconds"].notna()]
        series = []
        for _, part in drawn.groupby(SERIES, sort=False):
            seconds = part.groupby("sparsity")["prune_seconds"].mean()
            label = look.label(part.iloc[0])
            series.append(
                Series(
                    label=label,
                    style=look.style(part.iloc[0]),
                    x=[float(str(sparsity)) for sparsity in seconds.index],
                    y=seconds.tolist(),
                    names=[f"{label}, {value:.1f} s" for value in seconds],
                )
            )
        return Chart(
            title="Seconds of pruning against sparsity",
            x=Axis("Sparsity", percent=True, each=True),
            y=Axis("Seconds of pruning", log=True),
            panels=[Panel("", series)],
            notes=[f"Rests on {layout.counts(cells)}"],
        )
