"""The figure of allocations: the sparsity that each allocator gives each block."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from prunebench.figures import blocks
from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart, Panel, Series, Style
from prunebench.figures.look import Look
from prunebench.figures.palette import COLOURS
from prunebench.plan.grid import allocation_form, allocator_of, method_of

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class AllocationFigure(StudyFigure):
    """The sparsity of each block, its linears weighted by size.
    There is a line per allocator, and a panel per model and sparsity.

    Several seeds give their mean, and a band from the lowest to the highest.
    """

    name = "allocation"
    order = 30

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells whose layers may differ in sparsity; none if no allocator makes them differ."""
        config = shown.config
        cells = [
            cell
            for cell in shown.studies[study].cells
            if "allocator" in method_of(config, cell).uses and not cell.shape.structured
        ]
        # An allocator that serves n:m patterns too decides nothing: alone it would be a flat line.
        return cells if any(not allocator_of(config, cell).structured for cell in cells) else []

    def make(self, evidence: Evidence) -> Chart:
        """Draw the chart from the evidence; see `chart_of`."""
        form = partial(allocation_form, evidence.plan.config)
        cells = self.cells(evidence.plan.shown, evidence.study)
        rows = blocks.rows_of(cells, evidence.records.blocks, form=form)
        return self.chart_of(rows, len({form(cell) for cell in cells}), Look.of(evidence))

    def chart_of(self, allocations: pd.DataFrame, expected: int, look: Look) -> Chart:
        """Draw `allocations`, which has a row per allocation and block; the study expects `expected` allocations."""
        panels = [
            Panel(title, _series(rows, look), {"Target": float(point["sparsity"])})
            for title, point, rows in blocks.panels(allocations, look)
        ]
        return Chart(
            title="Sparsity of each block, by allocator",
            x=Axis("Block"),
            y=Axis("Sparsity of the block", percent=True),
            panels=panels,
            notes=[blocks.rests_on(allocations, expected, "allocations")],
            columns=3,
        )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    series = []
    for (allocator, calibration), part in rows.groupby(["allocator", "calibration"], sort=False):
        index = look.allocators.index(str(allocator))
        several = len(look.calibrations) > 1 and calibration in look.calibrations
        label = look.title(f"allocators/{allocator}") + (f", {calibration}" if several else "")
        # Colours repeat before markers do. Then the dash changes, so that no two lines differ in the marker alone.
        dash = look.calibrations.index(str(calibration)) if several else 0
        style = Style(index, index, dash + index // len(COLOURS))
        series.append(blocks.line(part, label, style, value="share", low="share", high="share"))
    return series
