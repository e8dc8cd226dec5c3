"""The figure of convergence: the losses of methods that work in epochs, epoch by epoch."""

from __future__ import annotations

from dataclasses import replace
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

LOSSES = {"loss": "training loss", "reconstruction": "reconstruction loss"}


class ConvergenceFigure(StudyFigure):
    """Both losses of methods that work in epochs, relative to the first epoch.
    Lines are medians over blocks and seeds; there is a panel per model and sparsity.
    """

    name = "convergence"
    order = 70

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells whose method works in epochs."""
        return [cell for cell in shown.studies[study].cells if method_of(shown.config, cell).iterative]

    def make(self, evidence: Evidence) -> Chart:
        """Draw the chart from the evidence; see `chart_of`."""
        cells = self.cells(evidence.plan.shown, evidence.study)
        rows = blocks.rows_of(cells, evidence.records.epochs, ("epoch", *LOSSES, "kept"))
        return self.chart_of(rows, len(cells), Look.of(evidence))

    def chart_of(self, epochs: pd.DataFrame, expected: int, look: Look) -> Chart:
        """Draw `epochs`, which has a row per cell, block and epoch; `expected` is how many cells should have them.

        The column `kept` is the epoch whose weights the block has.
        """
        first = epochs.groupby(["id", "block"])[list(LOSSES)].transform("first")
        relative = epochs.assign(**(epochs[list(LOSSES)] / first.where(first > 0)))
        plain = replace(look, patterns=())  # the panel's title names these
        of_blocks = epochs.drop_duplicates(["id", "block"])
        return Chart(
            title="Losses by epoch",
            x=Axis("Epoch"),
            y=Axis("Loss, relative to epoch 1"),
            panels=[Panel(title, _series(rows, plain)) for title, _, rows in blocks.panels(relative, look)],
            notes=[
                f"{blocks.rests_on(epochs, expected, 'cells')} In {(of_blocks['kept'] > 1).sum()} of their "
                f"{len(of_blocks)} blocks the weights of an epoch after the first were kept. Training loss: all its "
                "terms, after the updates of the epoch. Reconstruction loss: of the FFN's output, with the pruned "
                "weights of the epoch. Lines: median over blocks. Bands: quartiles."
            ],
            columns=3,
        )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    series = []
    for _, part in rows.groupby(SERIES, sort=False):
        label, style = look.label(part.iloc[0]), look.style(part.iloc[0])
        # The dash tells the losses apart, so the marker also has to say what the dash says in other figures.
        marker = (style.marker or 0) + style.dash * len(look.methods)
        for dash, (loss, name) in enumerate(LOSSES.items()):
            by_epoch = part.dropna(subset=loss).groupby("epoch")[loss]
            low, middle, high = (by_epoch.quantile(share) for share in (0.25, 0.5, 0.75))
            series.append(
                Series(
                    label=f"{label}, {name}",
                    style=replace(style, marker=marker, dash=dash),
                    x=[float(epoch) for epoch in middle.index],
                    y=middle.tolist(),
                    low=low.tolist(),
                    high=high.tolist(),
                    names=[f"{label}, {name}, epoch {epoch}" for epoch in middle.index],
                )
            )
    return series
