"""The figure of speed: the tokens per second that packed models write, against their perplexity."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prunebench.figures.base import StudyFigure
from prunebench.figures.chart import Axis, Chart
from prunebench.figures.trade import against_perplexity, drawn

if TYPE_CHECKING:
    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class SpeedFigure(StudyFigure):
    """Tokens per second that the packed model of each cell writes at the smallest batch, against its perplexity.
    The dense model is written by PyTorch. Times are of one machine, which the table of efficiency names.
    """

    name = "speed"
    order = 84
    metrics = ("decode",)

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells of which speed and perplexity are measured."""
        return drawn(shown, study)

    def make(self, evidence: Evidence) -> Chart:
        """Draw each method as a line over sparsities."""
        timed = evidence.rows(evidence.plan.shown.measuring(evidence.study, self.metrics))["metric"].dropna()
        batches = [int(name.removeprefix("decode_")) for name in timed if name.startswith("decode_")]
        batch = min(batches, default=1)
        return against_perplexity(
            evidence,
            f"decode_{batch}",
            Axis(f"Tokens per second, written at batch {batch}"),
            "Speed of packed models against perplexity",
            ["Lower and further right is better. The dense model runs by PyTorch, packed ones by the kernel."],
        )
