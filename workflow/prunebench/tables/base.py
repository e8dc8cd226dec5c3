"""The contract of a table of a study. Each file of tables/ that holds a subclass of `StudyTable` is one table."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.cell import Cell
    from prunebench.plan.outputs import Shown
    from prunebench.plan.plan import Plan
    from prunebench.published.match import Match
    from prunebench.results.detail import Records
    from prunebench.suites.base import Suite
    from prunebench.tables.table import Table


@dataclass(frozen=True)
class Evidence:
    """Everything that the tables and figures of a study are made from."""

    plan: Plan
    study: str
    cells: pd.DataFrame
    """All rows of results/cells.csv."""
    records: Records

    @property
    def labels(self) -> dict[str, str]:
        """The printed label of each catalog entry, by names such as methods/wanda."""
        return self.plan.shown.labels()

    @property
    def half(self) -> list[str]:
        """The names of the allocators that leave half of the blocks as they are."""
        return [name for name, entry in self.plan.config.allocators.items() if entry.layers == "first_half"]

    @property
    def even(self) -> list[str]:
        """The names of the allocators that give every matrix that they prune the same sparsity."""
        return [name for name, entry in self.plan.config.allocators.items() if entry.allocator == "uniform"]

    @property
    def computations(self) -> dict[str, tuple[str, str, str]]:
        """The first catalog name of the same work, dtype and compute settings, by calibrated method."""
        return self.plan.shown.computations()

    def published(self, cell: Cell, suite: str) -> list[Match]:
        """List the published values that the study shows beside what `suite` measures of `cell`."""
        return self.plan.shown.published(self.study, cell, suite)

    def rows(self, suites: Collection[str]) -> pd.DataFrame:
        """Select the rows of the study on `suites`, and add the column `baseline` (bool).

        `baseline` says whether the method of the row leaves the model as it is.
        """
        rows = self.cells[(self.cells["study"] == self.study) & self.cells["suite"].isin(suites)]
        return rows.assign(baseline=rows["method"].isin(self.plan.shown.baselines))


class StudyTable:
    """The base class of all tables.

    The Snakefile asks every table which studies have it. The module of a table therefore imports pandas, and whatever
    else is heavy, inside functions or for type checkers only.
    """

    name: ClassVar[str]
    """The name equals the file name. A suite that names this `table` gives the table to each study that uses it."""
    asked: ClassVar[str] = ""
    """These few words say what the table shows, if a study has to ask for it (`tables: [gain]`)."""
    metrics: ClassVar[tuple[str, ...]] = ()
    """The table shows the suites that measure one of these metrics. If there are none, it shows the suites that have
    it as their `table`."""

    @classmethod
    def shows(cls, suite: type[Suite]) -> bool:
        """Say whether the scores of `suite` are in the table."""
        measured = {metric.name for metric in suite.metrics}
        return bool(measured.intersection(cls.metrics)) if cls.metrics else suite.table == cls.name

    @classmethod
    def belongs(cls, shown: Shown, study: str) -> bool:
        """Say whether `study` has the table although neither a suite nor the study itself names it."""
        return False

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Make the table from `rows`: the rows of results/cells.csv that it shows, with two more columns.

        `baseline` says whether the row's method leaves the model as it is. `losses` holds the loss of each window
        behind a perplexity, or None.
        """
        raise TypeError(f"table {self.name!r} does not define make")
