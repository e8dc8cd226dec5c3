"""What tables share: a line per model, method and allocator, its rivals, and which of them stand out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prunebench.cell import NO_CALIBRATION
from prunebench.suites.metrics import metric
from prunebench.tables import layout
from prunebench.tables.means import Mean, mean

if TYPE_CHECKING:
    import pandas as pd

Column = tuple[str, layout.Test]
"""A sparsity as tables print it, and what is measured there."""


@dataclass(frozen=True)
class Line:
    """One allocator with one method."""

    key: tuple[str, ...]
    """Values of layout.ROW."""
    half: bool
    """Whether it leaves half of the blocks as they are."""
    baseline: bool
    """Whether it is the model as it is."""
    entries: list[str]
    """What is printed in each column."""
    means: list[Mean | None]
    """What is behind it, where there is a number."""

    @property
    def allocator(self) -> str:
        """Its catalog name."""
        return self.key[2]

    def rivals(self, lines: list[Line]) -> list[Line]:
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
    pruned = rows[~rows["baseline"]]
    suites = pruned.groupby("sparsity")["suite"].agg(set)
    points = [(layout.point(row), row["sparsity"]) for _, row in layout.points(pruned).iterrows()]
    return [(point, test) for point, at in points for test in tests if test[0] in suites[at]] or [
        ("", test) for test in tests
    ]


def heads(wanted: list[Column], rows: pd.DataFrame, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """What stands above the columns: the sparsity, below it corpus or task; and the suite if several are alike."""
    suites = list(rows["suite"].unique())
    measured = rows.dropna(subset="metric").groupby("suite")["metric"].first()
    suffixes = {suite: metric(measured[suite]).suffix if suite in measured else "" for suite in suites}

    def name(suite: str, task: str) -> str:
        suffix = suffixes[suite]
        shown = f"{labels.get(f'tasks/{task}', task)} {suffix}" if suffix else task
        alone = list(suffixes.values()).count(suffix) == 1
        return shown if shown and alone else f"{suite} {shown}".strip()

    return [(point, name(*test)) for point, test in wanted]


def groups(rows: pd.DataFrame, wanted: list[Column], half: Collection[str]) -> Iterator[list[Line]]:
    """The lines of each model and method, dense first; `half` are the allocators that come last in their group."""
    for _, of_model in rows.groupby("model", sort=False):
        baselines = set(of_model.loc[of_model["baseline"], "method"])
        for method in sorted(of_model["method"].unique(), key=lambda name: name not in baselines):
            part = of_model[of_model["method"] == method]
            lines = [line(key, found, wanted, half) for key, found in part.groupby(layout.ROW, sort=False)]
            yield sorted(lines, key=lambda line: line.half)


def line(
    of: Iterable[object],
    rows: pd.DataFrame,
    wanted: list[Column],
    half: Collection[str],
    show: Callable[[Mean, layout.Test], str] = lambda mean, _: str(mean),
) -> Line:
    """The line of `rows`, which are all `of` these values of layout.ROW, in the columns `wanted`."""
    key, baseline = tuple(map(str, of)), bool(rows["baseline"].all())
    entries: list[str] = []
    means: list[Mean | None] = []
    points = rows.apply(layout.point, axis=1)
    for point, test in wanted:
        # The dense model, which has no sparsity, stands in every group.
        here = rows if baseline else rows[points == point]
        found = layout.of_test(here, test)
        blank = layout.blank(found)
        means.append(mean(found) if blank is None else None)
        entries.append(show(means[-1], test) if means[-1] else str(blank))
    return Line(key, key[2] in half, baseline, entries, means)


@dataclass
class ByPoint:
    """Rows of a table with a row per sparsity and line, and what its notes say of them."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    """STUB, the sparsity, and what stands in each column."""
    lines: list[Line] = field(default_factory=list)
    bold: set[tuple[int, int]] = field(default_factory=set)
    compared: bool = False
    """Whether any of them could be compared with another."""


def by_point(
    rows: pd.DataFrame,
    tests: list[layout.Test],
    labels: Mapping[str, str],
    half: Collection[str],
    show: Callable[[Mean, layout.Test], str] = lambda mean, _: str(mean),
) -> ByPoint:
    """A row for each model, sparsity, method and allocator of `rows`, with `tests` as columns."""
    made = ByPoint()
    for _, of_model in rows.groupby("model", sort=False):
        for _, point in layout.points(of_model).iterrows():
            here = of_model[(of_model[layout.POINT] == point).all(axis=1)]
            wanted = [(layout.point(point), test) for test in tests]
            lines = [line(key, part, wanted, half, show) for key, part in here.groupby(layout.ROW, sort=False)]
            made.bold |= {(len(made.rows) + row, at) for row, at in winners(lines)}
            made.compared |= contested(lines)
            made.lines += lines
            made.rows += [(*layout.stub(one.key, rows, labels), layout.point(point), *one.entries) for one in lines]
    return made


def wins(line: Line, lines: list[Line], at: int) -> bool:
    """Whether `line` stands out from all its rivals in column `at`; not as long as one of them is missing."""
    mine, rivals = line.means[at], line.rivals(lines)
    others = [found for rival in rivals if (found := rival.means[at])]
    if mine is None or not others or any(rival.entries[at] == "missing" for rival in rivals):
        return False
    # Nearest first: most lines fail at once.
    return all(mine.stands_out(other) for other in sorted(others, key=mine.lead))


def winners(lines: list[Line]) -> set[tuple[int, int]]:
    """(line, column) of all that stand out among `lines`; the dense model is no rival."""
    pruned = [line for line in lines if not line.baseline]
    return {
        (row, at)
        for row, line in enumerate(lines)
        if not line.baseline
        for at in range(len(line.means))
        if wins(line, pruned, at)
    }


def contested(lines: list[Line]) -> bool:
    """Whether any column of `lines` has numbers of two or more that could be compared."""
    return any(
        mine and any(rival.means[at] for rival in line.rivals(lines) if not rival.baseline)
        for line in lines
        if not line.baseline
        for at, mine in enumerate(line.means)
    )


def explain(lines: list[Line], bold: str, *, spreads: bool = True) -> list[str]:
    """What ± is (without `spreads` somebody else says that) and what `bold`, a lead in words, makes bold."""
    means = [mean for line in lines if not line.baseline for mean in line.means if mean]
    if not means:
        return []
    spread, known = (any(has) for has in zip(*((mean.spread is not None, _known(mean)) for mean in means), strict=True))
    if not spread and not known:
        return ["One seed: the spread is not known, so nothing is bold."]
    tests = [
        *(["sure over the windows of the text (paired bootstrap, 95%)"] if any(mean.losses for mean in means) else []),
        *(["more than 1.96 standard errors"] if any(mean.stderr is not None for mean in means) else []),
        *(["larger than the spread of either"] if spread else []),
    ]
    # What looks at no text has one seed only, and needs no other.
    single = any(mean and mean.spread is None for of in lines if of.key[3] != NO_CALIBRATION for mean in of.means)
    notes = []
    if spread and spreads:
        notes.append("±: standard deviation over seeds, of a perplexity that of its logarithm times it.")
    if single and known:
        notes.append("An entry of one seed says nothing about other seeds.")
    elif single:
        notes.append("Where an entry is of one seed, nothing is known to lead it, nor does it lead.")
    notes.append(f"Bold: {bold} {' and '.join(tests)}.")
    if any(of.half for of in lines):
        notes.append("Rows that prune half of the blocks are compared with each other only.")
    return [" ".join(notes)]


def _known(mean: Mean) -> bool:
    """Whether one seed is enough to say how sure a lead is."""
    return mean.losses is not None or mean.stderr is not None
