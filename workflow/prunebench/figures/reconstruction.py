"""How far the outputs of each block's linears moved."""

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
    """How far the outputs of each block's linears moved."""

    name = "reconstruction"
    order = 60

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """Cells whose method looks at text."""
        return [cell for cell in shown.studies[study].cells if "calibration" in method_of(shown.config, cell).uses]

    def make(self, evidence: Evidence) -> Chart:
        """See `reconstruction_chart`."""
        cells = self.cells(evidence.plan.shown, evidence.study)
        return reconstruction_chart(blocks.rows_of(cells, evidence.records.blocks), len(cells), Look.of(evidence))


def reconstruction_chart(errors: pd.DataFrame, expected: int, look: Look) -> Chart:
    """The reconstruction error per block: a line per method and allocator, a panel per model and sparsity.

    `errors` has a row per cell and block: the median over its linears, the least and the largest. Methods that look
    at no text record none, nor do blocks that are not to be pruned. `expected` is how many cells should have them.
    """
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
