"""The contract of a figure of a study. Each file of figures/ that holds a subclass of `StudyFigure` is one figure."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from prunebench.figures.look import Look
from prunebench.tables import layout

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.figures.chart import Chart
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class StudyFigure:
    """The base class of all figures.

    The Snakefile asks every figure which studies have it. The module of a figure therefore imports pandas, and whatever
    else is heavy, inside functions or for type checkers only.
    """

    name: ClassVar[str]
    """The name equals the file name."""
    order: ClassVar[int] = 100
    """The place of the figure in the report: figures with lower numbers come first."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """The metrics of the scores that the figure draws, if it draws scores."""

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """List the cells of `study` that are drawn; by default the pruned ones that are measured in `metrics`."""
        return shown.measured(study, cls.metrics)

    @classmethod
    def searches(cls, shown: Shown, study: str) -> list[tuple[str, int]]:
        """List the runs of searches (search, seed) whose results the figure reads."""
        return []

    @classmethod
    def rows(cls, evidence: Evidence) -> pd.DataFrame:
        """Select the rows of results/cells.csv on suites that measure one of `metrics`, with the column `baseline`."""
        rows = evidence.rows(evidence.plan.shown.measuring(evidence.study, cls.metrics))
        rows = rows[rows["metric"].isna() | rows["metric"].isin(cls.metrics)]
        return layout.of_study(rows, evidence.study)

    def make(self, evidence: Evidence) -> Chart:
        """Make the figure as data; by default from `rows`, by the method `chart`."""
        return self.chart(self.rows(evidence), Look.of(evidence))

    def chart(self, cells: pd.DataFrame, look: Look) -> Chart:
        """Make the figure from `cells`, which are `rows`, in the labels and styles of `look`."""
        raise TypeError(f"figure {self.name!r} defines neither make nor chart")
