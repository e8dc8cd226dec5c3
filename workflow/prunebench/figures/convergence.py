"""Losses of methods that work in epochs, epoch by epoch."""

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
    """Losses of methods that work in epochs."""

    name = "convergence"
    order = 70

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """Cells whose method works in epochs."""
        return [cell for cell in shown.studies[study].cells if method_of(shown.config, cell).iterative]

    def make(self, evidence: Evidence) -> Chart:
        """See `convergence_chart`."""
        cells = self.cells(evidence.plan.shown, evidence.study)
        rows = blocks.rows_of(cells, evidence.records.epochs, ("epoch", *LOSSES, "kept"))
        return convergence_chart(rows, len(cells), Look.of(evidence))


def convergence_chart(epochs: pd.DataFrame, expected: int, look: Look) -> Chart:
    """Both losses relative to the first epoch, median over blocks and seeds: a panel per model and sparsity.

    `epochs` has a row per cell, block and epoch; `kept` is the epoch whose weights the block has. `expected` is how
    many cells should have them.
    """
    first = epochs.groupby(["id", "block"])[list(LOSSES)].transform("first")
    relative = epochs.assign(**(epochs[list(LOSSES)] / first.where(first > 0)))
    of_line = replace(look, patterns=())  # which the panel's title says
    of_block = epochs.drop_duplicates(["id", "block"])
    return Chart(
        title="Losses by epoch",
        x=Axis("Epoch"),
        y=Axis("Loss, relative to epoch 1"),
        panels=[Panel(title, _series(rows, of_line)) for title, _, rows in blocks.panels(relative, look)],
        notes=[
            f"{blocks.rests_on(epochs, expected, 'cells')} In {(of_block['kept'] > 1).sum()} of their {len(of_block)} "
            "blocks the weights of an epoch after the first were kept. Training loss: all its terms, after the updates "
            "of the epoch. Reconstruction loss: of the FFN's output, with the pruned weights of the epoch. "
            "Lines: median over blocks. Bands: quartiles."
        ],
        columns=3,
    )


def _series(rows: pd.DataFrame, look: Look) -> list[Series]:
    found = []
    for _, part in rows.groupby(SERIES, sort=False):
        label, style = look.label(part.iloc[0]), look.style(part.iloc[0])
        # The dash says which loss, so the marker has to say what it says elsewhere.
        marker = (style.marker or 0) + style.dash * len(look.methods)
        for dash, (loss, name) in enumerate(LOSSES.items()):
            by_epoch = part.dropna(subset=loss).groupby("epoch")[loss]
            low, middle, high = (by_epoch.quantile(share) for share in (0.25, 0.5, 0.75))
            found.append(
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
    return found
