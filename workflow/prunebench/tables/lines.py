"""What the tables of allocators and of their gains share: a line per model, method and allocator, and its rivals."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

import pandas as pd

from prunebench.cells import NO_CALIBRATION
from prunebench.suites.base import MEAN
from prunebench.tables import layout
from prunebench.tables.means import Mean, mean

Column = tuple[str, layout.Test]
"""A sparsity as tables print it, and what is measured there."""


@dataclass(frozen=True)
class Line:
    """One allocator with one method."""

    key: tuple[str, ...]
    """Values of layout.ROW."""
    half: bool
    """Whether it leaves half of the blocks as they are."""
    entries: list[str]
    """What is printed in each column."""
    means: list[Mean | None]
    """What is behind it, where there is a number."""

    @property
    def allocator(self) -> str:
        """Its catalog name."""
        return self.key[2]

    def rivals(self, lines: "list[Line]") -> "list[Line]":
        """Those of `lines` (of one model and method) that differ from this in how the same zeros are shared out.

        Half of the blocks are no match for all of them, nor one calibration for another; a line without calibration
        (magnitude with an allocator that looks at no text) is compared with all.
        """
        mine = {self.key[3], NO_CALIBRATION}
        return [
            line
            for line in lines
            if line is not self and line.half == self.half and (line.key[3] in mine or self.key[3] == NO_CALIBRATION)
        ]


def unstructured(rows: pd.DataFrame) -> pd.DataFrame:
    """`rows` without n:m patterns, which leave allocators nothing to decide."""
    return rows[rows["pattern"] == "unstructured"]


def columns(rows: pd.DataFrame) -> list[Column]:
    """A column for each sparsity of `rows` (unstructured) and all that is measured there, in their order."""
    tests = layout.tests(rows)
    pruned = rows[rows["method"] != "dense"]
    suites = pruned.groupby("sparsity")["suite"].agg(set)
    points = [(layout.point(row), row["sparsity"]) for _, row in layout.points(pruned).iterrows()]
    return [(point, test) for point, at in points for test in tests if test[0] in suites[at]] or [
        ("", test) for test in tests
    ]


def heads(wanted: list[Column], rows: pd.DataFrame, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """What stands above the columns: the sparsity, below it corpus or task; and the suite if several are alike."""
    suites = list(rows["suite"].unique())
    accuracies = set(rows.loc[rows["metric"] == "acc", "suite"])

    def name(suite: str, task: str) -> str:
        accuracy = suite in accuracies
        shown = f"{'mean' if task == MEAN else labels.get(f'tasks/{task}', task)} acc." if accuracy else task
        alone = sum((other in accuracies) == accuracy for other in suites) == 1
        return shown if shown and alone else f"{suite} {shown}".strip()

    return [(point, name(*test)) for point, test in wanted]


def groups(rows: pd.DataFrame, wanted: list[Column], half: Collection[str]) -> Iterator[list[Line]]:
    """The lines of each model and method, dense first; `half` are the allocators that come last in their group."""
    for _, of_model in rows.groupby("model", sort=False):
        for method in sorted(of_model["method"].unique(), key=lambda name: str(name) != "dense"):
            part = of_model[of_model["method"] == method]
            lines = [_line(key, found, wanted, half) for key, found in part.groupby(layout.ROW, sort=False)]
            yield sorted(lines, key=lambda line: line.half)


def _line(key: tuple[str, ...], rows: pd.DataFrame, wanted: list[Column], half: Collection[str]) -> Line:
    entries: list[str] = []
    means: list[Mean | None] = []
    points = rows.apply(layout.point, axis=1)
    for point, test in wanted:
        # The dense model, which has no sparsity, stands in every group.
        here = rows if key[1] == "dense" else rows[points == point]
        entries.append(layout.entry(here, test, lambda seeds: str(mean(seeds))))
        found = layout.of_test(here, test)
        means.append(mean(found) if len(found) and found["status"].eq("ok").all() else None)
    return Line(key, key[2] in half, entries, means)


def explain(lines: list[Line], bold: str) -> list[str]:
    """What ± is and what `bold` (in words) makes bold."""
    means = [mean for line in lines if line.key[1] != "dense" for mean in line.means if mean]
    if not means:
        return []
    if all(mean.spread is None for mean in means):
        return ["One seed: the spread is not known, so nothing is bold."]
    spread = "±: standard deviation over seeds, of a perplexity that of its logarithm times it."
    unknown = (
        " Where an entry is of one seed, nothing is known to lead it, nor does it lead."
        if any(mean.spread is None for mean in means)
        else ""
    )
    apart = (
        " Rows that prune half of the blocks are compared with each other only." if any(of.half for of in lines) else ""
    )
    return [f"{spread}{unknown} Bold: {bold} larger than the spread of either.{apart}"]
