"""Perplexity against sparsity: a line per method and allocator, a panel per corpus."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES, bands, dense_level, line, of_several_sizes, tests
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class PerplexityFigure(StudyFigure):
    """Perplexity against sparsity."""

    name = "perplexity"
    order = 10
    metrics = ("perplexity",)

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """None at a single sparsity where samples differ: the figure of calibration says more then."""
        cells = super().cells(shown, study)
        single = len({cell.point for cell in cells}) == 1 and of_several_sizes(cells)
        return [] if single else cells

    def make(self, evidence: Evidence) -> Chart:
        """See `perplexity_chart`."""
        return perplexity_chart(self.rows(evidence), evidence.study, Look.of(evidence))


def perplexity_chart(cells: pd.DataFrame, study: str, look: Look) -> Chart:
    """The perplexities of `study` among `cells` (rows of results/cells.csv whose suites measure perplexity).

    Several seeds give their geometric mean, and a band of one standard deviation of the log-perplexity. n:m patterns
    are single points. Points of which any seed has no number are left out.
    """
    mine = layout.of_study(cells, study)
    panels = [Panel(title, _series(rows, look), dense_level(rows, look)) for title, rows in tests(mine, look)]
    return Chart(
        title="Perplexity against sparsity, lower is better",
        x=Axis("Sparsity", percent=True, each=True),
        y=Axis("Perplexity", log=True),
        panels=panels,
        notes=[f"Rests on {layout.counts(mine)}{bands(mine)}"],
        columns=2,
    )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    return [
        line(part, look, by="sparsity", show="{:.0%}".format, form="line" if pattern == "unstructured" else "points")
        for (_, _, pattern, _), part in rows[~rows["baseline"]].groupby(SERIES, sort=False)
    ]
