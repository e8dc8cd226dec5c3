"""The table of published values: a row for each published value of a cell, with ours, the difference and a verdict."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from prunebench.cell import Cell
from prunebench.published.match import Match
from prunebench.suites.metrics import MEAN, Metric, metric
from prunebench.tables import layout
from prunebench.tables.base import Evidence, StudyTable
from prunebench.tables.means import Mean, mean
from prunebench.tables.table import Table

if TYPE_CHECKING:
    import pandas as pd

    from prunebench.plan.outputs import Shown
    from prunebench.suites.base import Suite

RELATIVE = 0.05
"""How far the perplexity of a faithful repetition may be off, as a fraction, if our seeds do not spread farther."""
MEAN_POINTS, TASK_POINTS = 0.01, 0.02
"""How far a mean accuracy over tasks, and the accuracy on one task, may be off, as fractions.

Where values.csv has two sources for the same cell and protocol, 14 of 15 pairs of perplexities, 20 of 20 pairs of means
and 59 of 63 pairs of single tasks are that close.
"""

HEADS = ("Ours", "Published", "Difference", "Verdict", "Source")
KEYS = (*layout.ROW, *layout.POINT)


class PublishedTable(StudyTable):
    """Our numbers beside published ones, with the difference and a verdict.
    Every study has the table if anybody has published a number of one of its cells.

    The mean over our seeds is compared. A value that was measured in another way, or that is not plausible, has a mark
    that a note explains, and no verdict.
    """

    name = "published"

    @classmethod
    def shows(cls, suite: type[Suite]) -> bool:
        """Say yes to every suite: a score without a published value makes no row."""
        return True

    @classmethod
    def belongs(cls, shown: Shown, study: str) -> bool:
        """Say whether anybody has published a number of any cell of `study`."""
        expansion = shown.studies[study]
        return any(shown.published(study, cell, suite) for cell in expansion.cells for suite in expansion.suites[cell])

    def make(self, rows: pd.DataFrame, evidence: Evidence) -> Table:
        """Lay out a row for each published value of a cell; see the class."""
        labels = evidence.labels
        rows = layout.of_study(rows, evidence.study)
        tasks = [task for _, task in layout.tests(rows)]
        printed: list[tuple[str, ...]] = []
        marks: dict[str, str] = {}
        compared: set[str] = set()
        so_far = False
        for suite, key, part in _cells(rows):
            cell = Cell(**dict(zip(KEYS, key, strict=True)), seed=int(part["seed"].iloc[0]))
            for match in evidence.published(cell, suite):
                measures = part["metric"].isna() | (part["metric"] == match.metric)
                seeds = layout.of_test(part[measures], (suite, match.task))
                blank = layout.blank(seeds)
                if blank == "":
                    continue
                ours = mean(seeds) if blank is None else None
                mark = _mark(match, marks)
                so_far = so_far or bool(ours and ours.missing)
                judged = ours is not None and not ours.missing and not mark
                if judged:
                    compared.add(match.metric)
                measured = [suite] if tasks.count(match.task) > 1 else []
                printed.append(
                    (
                        *layout.stub(key[: len(layout.ROW)], rows, labels),
                        layout.point(part.iloc[0]),
                        " ".join([*measured, _measured(match, labels)]),
                        str(ours or blank),
                        f"{_printed(match)}{mark}",
                        difference(ours, match.value.value) if ours else "",
                        verdict(ours, match) if ours and judged else "",
                        match.value.origin,
                    )
                )
        return Table(
            title=layout.caption("Published values beside ours", evidence.study, evidence.labels),
            stub=(*layout.STUB, "Sparsity", "Measured"),
            columns=[("", head) for head in HEADS],
            rows=printed,
            notes=[
                layout.counts(rows),
                *([layout.SO_FAR] if so_far else []),
                *_explain(compared),
                *(f"{mark}: {text}." for text, mark in marks.items()),
            ],
        )


def _cells(rows: pd.DataFrame) -> Iterator[tuple[str, tuple[str, ...], pd.DataFrame]]:
    """Yield for each cell and suite: the suite, the values of KEYS, and the rows of all seeds."""
    for suite, of_suite in rows.groupby("suite", sort=False):
        for key, part in of_suite.groupby([*KEYS], sort=False):
            yield str(suite), tuple(map(str, key)), part


def difference(ours: Mean, published: float) -> str:
    """Print how far our mean is from `published`: a perplexity in percent of that, an accuracy in points."""
    if ours.scale.log:
        return f"{math.expm1(ours.value - math.log(published)):+.1%}"
    return f"{ours.scale.printed(ours.value - published):+.{ours.scale.digits}f}"


def verdict(ours: Mean, match: Match) -> str:
    """Say whether our mean is `within` the tolerance of the published value, or `outside`.

    The tolerance is the standard deviation over our seeds, but at least RELATIVE for a perplexity (on the scale of
    logarithms), and at least MEAN_POINTS or TASK_POINTS for an accuracy.
    """
    published = match.value.value
    if ours.scale.log:
        published, bound = math.log(published), math.log1p(RELATIVE)
    else:
        bound = MEAN_POINTS if match.task == MEAN else TASK_POINTS
    # One of two equal numbers may be off in the last bit.
    return "within" if abs(ours.value - published) <= max(bound, ours.deviation or 0.0) * (1 + 1e-9) else "outside"


def _mark(match: Match, marks: dict[str, str]) -> str:
    """Find the mark for what is different about `match`, one for each text; it is empty if the values compare."""
    if not match.differences:
        return ""
    return " " + marks.setdefault("; ".join(match.differences), f"[{len(marks) + 1}]")


def _measured(match: Match, labels: Mapping[str, str]) -> str:
    return f"{layout.measured(match.task, labels)} {metric(match.metric).suffix}".strip()


def _printed(match: Match) -> str:
    """Print a published value in the unit of the table."""
    scale = metric(match.metric)
    return f"{scale.printed(match.value.value):.{scale.digits}f}"


def _explain(compared: set[str]) -> list[str]:
    if not compared:
        return ["No verdict: none of these values was measured as here."]
    told = ", ".join(_bound(metric(name)) for name in sorted(compared, key=lambda name: not metric(name).log))
    return [
        f"Verdict: within {told}, or within the standard deviation over our seeds where that is more. "
        "Values with a mark were measured in another way, or are in doubt: no verdict."
    ]


def _bound(metric: Metric) -> str:
    """Put the tolerance of `verdict` into words."""
    title = metric.title.lower()
    if metric.log:
        return f"{RELATIVE:.0%} of a {title}"
    mean, task = (f"{metric.printed(points):.3g}" for points in (MEAN_POINTS, TASK_POINTS))
    return f"{mean} point of a mean {title} or {task} of that of a task"
