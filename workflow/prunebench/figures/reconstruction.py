"""The figure of reconstruction errors: how far the outputs of each block's linears have moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.figures import blocks
from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES
from prunebench.plan.grid import method_of

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class ReconstructionFigure(StudyFigure):
    """The reconstruction error of each block: the median over its linears, the least and the largest.
    There is a line per method and allocator, and a panel per model and sparsity.

    Methods that look at no text record no errors, and blocks that are not to be pruned have none.
    """

    name = "reconstruction"
    order = 60

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells whose method looks at text."""
        return [cell for cell in shown.studies[study].cells if "calibration" in method_of(shown.config, cell).uses]

    def make(self, evidence: Evidence) -> Chart:
        """Draw the chart from the evidence; see `chart_of`."""
        cells = self.cells(evidence.plan.shown, evidence.study)
        return self.chart_of(blocks.rows_of(cells, evidence.records.blocks), len(cells), Look.of(evidence))

    def chart_of(self, errors: pd.DataFrame, expected: int, look: Look) -> Chart:
        """Draw `errors`, which has a row per cell and block; `expected` is how many cells should have errors."""
        errors = errors.dropna(subset="error")
        panels = [
            Panel(
                title,
                [
                    blocks.line(
                        part, look.label(part.iloc[0]), look.style(part.iloc[0]), value="error", low="low", high="high"
                    )
                    for _, part in rows.groupby(SERIES, sort=False)
                ],
            )
            for title, _, rows in blocks.panels(errors, look)
        ]
        return Chart(
            title="Reconstruction error of each block",
            x=Axis("Block"),
            y=Axis("Reconstruction error", log=True),
            panels=panels,
            notes=[
                f"{blocks.rests_on(errors, expected, 'cells')} Lines: median over the linears of a block. "
                "Bands: from the least to the largest. 1: all is gone."
            ],
            columns=3,
        )
