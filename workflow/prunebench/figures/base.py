"""The contract of a figure of a study: a file of figures/ holds one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.figures.chart import Chart
    from prunebench.plan.outputs import Shown
    from prunebench.tables.base import Evidence


class StudyFigure:
    """Base of all figures.

    The Snakefile asks every figure which studies have it, so its module imports pandas and whatever else is heavy
    inside functions, or for type checkers only.
    """

    name: ClassVar[str]
    """Equals the file name."""
    order: ClassVar[int] = 100
    """Where the figure stands in the report: those with lower numbers first."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """The metrics of the scores that it draws, if it draws scores."""

    @classmethod
    def cells(cls, shown: Shown, study: str) -> list[Cell]:
        """The cells of a study that it draws; by default the pruned ones on which one of `metrics` is measured."""
        return shown.measured(study, cls.metrics)

    @classmethod
    def searches(cls, shown: Shown, study: str) -> list[tuple[str, int]]:
        """The runs of searches (search, seed) whose results the figure reads."""
        return []

    @classmethod
    def rows(cls, evidence: Evidence) -> pd.DataFrame:
        """The rows of results/cells.csv of the suites that measure one of `metrics`, with the column `baseline`."""
        rows = evidence.rows(evidence.plan.shown.measuring(evidence.study, cls.metrics))
        return rows[rows["metric"].isna() | rows["metric"].isin(cls.metrics)]

    def make(self, evidence: Evidence) -> Chart:
        """The figure as data."""
        raise TypeError(f"figure {self.name!r} does not define make")
