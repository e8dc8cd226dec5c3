"""The zero-shot table: a row per model, sparsity, method and allocator; a column per task, and their mean."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from prunebench.suites.metrics import MEAN
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.lines import BEST, by_point, explain
from prunebench.tables.means import Mean
from prunebench.tables.perplexity import RATIO
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd


class ZeroshotTable(StudyTable):
    """Accuracies (`acc`) on tasks in percent, and their mean.
    Each sparsity has rows of its own, and the dense model comes first.

    Several seeds are averaged. The mean over tasks has its standard error after ±, or with several seeds their
    standard deviation. Cells without a number say why they have none.

    The best of a model's rows at one sparsity is bold if it stands out from all others that compare with it.
    """

    name = "zeroshot"

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Lay out a row for each sparsity and line, a column for each task; see the class."""
        labels = evidence.labels
        rows = layout.of_study(rows[rows["metric"].isna() | (rows["metric"] == "acc")], evidence.study)
        tests = layout.tests(rows)
        ambiguous = len({task for _, task in tests}) < len(tests)
        averages = sum(task == MEAN for _, task in tests)
        compared = averages == 1 or len(tests) == 1
        relative = bool(compared and rows["baseline"].any() and not rows["baseline"].all())
        body = by_point(rows, tests, labels, evidence.half, _show, relative=relative)
        return Table(
            title=layout.caption("Accuracy in percent, higher is better", evidence.study, labels, rows),
            stub=(*layout.STUB, "Sparsity"),
            columns=[
                *((suite if ambiguous else "", _head(task, labels)) for suite, task in tests),
                *([("", RATIO)] if relative else []),
            ],
            rows=body.rows,
            notes=[
                layout.counts(rows),
                *_explain(rows, tests, labels),
                *([f"{RATIO.capitalize()}: the points {'of the mean ' * averages}above the dense model."] * relative),
                *(explain(body.lines, BEST, spreads=False) if body.compared else []),
                *layout.reasons(rows, labels),
            ],
            bold=frozenset(body.bold),
        )


def _head(task: str, labels: Mapping[str, str]) -> str:
    return "Mean" if task == MEAN else layout.measured(task, labels)


def _show(mean: Mean, test: layout.Test) -> str:
    error = mean.deviation if mean.deviation is not None else mean.stderr
    spread = f" ± {100 * error:.2f}" if test[1] == MEAN and error is not None else ""
    return f"{mean.shown:.2f}{mean.within if mean.deviation is None else ''}{spread}{mean.so_far}"


def _explain(rows: pd.DataFrame, tests: list[layout.Test], labels: Mapping[str, str]) -> list[str]:
    """Write notes on what ± means, and on how many rows each accuracy rests."""
    notes = []
    if any(task == MEAN for _, task in tests):
        several = rows.groupby([*layout.ROW, *layout.POINT])["seed"].nunique() > 1
        spread = "standard deviation over seeds" if several.all() else "standard error of the sample of rows"
        also = ", or with several seeds their standard deviation" if several.any() and not several.all() else ""
        notes.append(f"Mean: plain mean over the tasks ± {spread}{also}.")
    sizes = [
        f"{_head(task, labels)} {_size(rows[(rows['suite'] == suite) & (rows['task'] == task)])}"
        for suite, task in tests
        if task not in (MEAN, "")
    ]
    ones = rows["status"].eq("ok") & rows["task"].ne(MEAN) & rows["value"].isin([0.0, 1.0])
    if ones.any():
        notes.append("In brackets behind 0 and 100: the 95% interval by Wilson's score (a standard error is 0).")
    return [*notes, f"Rows, and ± their largest standard error: {', '.join(sizes)}."] if sizes else notes


def _size(rows: pd.DataFrame) -> str:
    """Print how many rows the accuracies of a task rest on, and their largest standard error in points, if known."""
    size, error = f"{rows['n'].max():.0f}", rows["stderr"].astype(float).max()
    return size if math.isnan(error) else f"{size} (± {100 * error:.2f})"
