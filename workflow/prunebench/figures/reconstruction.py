"""The figure of reconstruction errors: how far the outputs of each block's linears have moved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.figures import blocks
from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series
from prunebench.figures.look import Look
from prunebench.figures.points import SERIES
from prunebench.plan.grid import method_of

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence

BANDED = 3
"""The most lines of a panel that have bands. More bands cover each other."""
_LINE = ["model", *SERIES, "sparsity"]


class ReconstructionFigure(StudyFigure):
    """The reconstruction error of each block: the median over its linears.
    There is a line per method, and a panel per model and sparsity. Where a method has several allocators, its line is
    of the one that comes first in the study. Up to BANDED lines have a band from the least to the largest error.

    Methods that look at no text record no errors, nor does DenseFit, which aims at other outputs: their finished cells
    are not expected. Blocks that are not to be pruned have none.
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
        """Draw `errors`, which has a row per cell and block. `expected` is the number of cells, finished or not.

        Finished cells without any error are left out of this number.
        """
        counts = errors.groupby("id")["error"].count()
        expected -= int((counts == 0).sum())
        errors = errors.dropna(subset="error")
        drawn = _of_first_allocators(errors)
        parts = [
            (title, [part for _, part in rows.groupby(SERIES, sort=False)])
            for title, _, rows in blocks.panels(drawn, look)
        ]
        bands = ("low", "high") if max((len(lines) for _, lines in parts), default=0) <= BANDED else ("", "")
        panels = [Panel(title, [_line(part, look, *bands) for part in lines]) for title, lines in parts]
        left = errors.groupby(_LINE).ngroups - drawn.groupby(_LINE).ngroups
        notes = [
            f"{blocks.rests_on(errors, expected, 'cells')} Lines: median over the linears of a block, mean over seeds. "
            "0: the outputs are those of the dense model; 1: all is gone."
        ]
        if bands[0]:
            notes.append("Bands: from the least to the largest error among the linears of a block, over all seeds.")
        if not expected:
            notes = ["No method of this study records errors."]
        if left:
            some = "1 line of another allocator is" if left == 1 else f"{left} lines of other allocators are"
            notes.append(f"{some} left out; the panel of each cell draws its own errors.")
        return Chart(
            title="Reconstruction error of each block",
            x=Axis("Block"),
            y=Axis("Reconstruction error", log=True),
            panels=panels,
            notes=[" ".join(notes)],
            columns=3,
        )


def _of_first_allocators(errors: pd.DataFrame) -> pd.DataFrame:
    """Select of each model, method, sparsity and calibration the rows of the allocator that comes first."""
    first = errors.groupby([key for key in _LINE if key != "allocator"], sort=False)["allocator"].transform("first")
    return errors[errors["allocator"] == first]


def _line(rows: pd.DataFrame, look: Look, low: str, high: str) -> Series:
    return blocks.line(rows, look.label(rows.iloc[0]), look.style(rows.iloc[0]), value="error", low=low, high=high)
