"""The figure of perplexities: perplexity against sparsity."""

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


class PerplexityFigure(StudyFigure):
    """Perplexity against sparsity, with a line per method and allocator.
    There is a panel per model and corpus; n:m patterns are single points.

    Several seeds give their geometric mean, and a band of one standard deviation of the log-perplexity. Points where
    any seed has no number are left out.
    """

    name = "perplexity"
    order = 10
    metrics = ("perplexity",)

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the pruned cells; none at a single sparsity where samples differ: the calibration figure says more."""
        cells = super().cells(shown, study)
        single = len({cell.point for cell in cells}) == 1 and of_several_sizes(cells)
        return [] if single else cells

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Draw `cells`: rows of results/cells.csv whose suites measure perplexity."""
        panels = [Panel(title, _series(rows, look), dense_level(rows, look)) for title, rows in tests(cells, look)]
        return Chart(
            title="Perplexity against sparsity, lower is better",
            x=Axis("Sparsity", percent=True, each=True),
            y=Axis("Perplexity", log=True),
            panels=panels,
            notes=[f"Rests on {layout.counts(cells)}{bands(cells)}"],
            columns=2,
        )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    return [
        line(part, look, by="sparsity", show="{:.0%}".format, form="line" if pattern == "unstructured" else "points")
        for (_, _, pattern, _), part in rows[~rows["baseline"]].groupby(SERIES, sort=False)
    ]
