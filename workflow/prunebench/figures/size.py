"""The figure of size: megabytes of packed models against their perplexity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart
from prunebench.figures.trade import against_perplexity, drawn

if TYPE_CHECKING:
    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class SizeFigure(StudyFigure):
    """Megabytes of the packed model of each cell on disk, against its perplexity.
    All tensors count, also embeddings, which are not pruned.
    """

    name = "size"
    order = 86
    metrics = ("disk",)

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells of which size and perplexity are measured."""
        return drawn(shown, study)

    def make(self, evidence: Evidence) -> Chart:
        """Draw each method as a line over sparsities."""
        return against_perplexity(
            evidence,
            "disk",
            Axis("MB on disk"),
            "Size of packed models against perplexity",
            ["Lower and further left is better. The size is of all tensors, with embeddings and head."],
        )
