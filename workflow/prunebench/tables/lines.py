"""The lines of tables, one per model, method, allocator and calibration: their rivals, and which of them stand out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from prunebench.cell import NO_CALIBRATION
from prunebench.suites.metrics import MEAN, metric
from prunebench.tables import layout
from prunebench.tables.means import Mean, mean

if TYPE_CHECKING:
    import pandas as pd

Column = tuple[str, layout.Test]
"""A sparsity as tables print it, and the suite and task that are measured there."""
BEST = "the best at its sparsity, if its lead over every other is"
"""The bold entries of a table with a row per sparsity, in the words of `explain`."""


@dataclass(frozen=True)
class Line:
    """The results of one allocator with one method on one model."""

    key: tuple[str, ...]
    """The values of layout.ROW."""
    half: bool
    """Whether the allocator leaves half of the blocks as they are."""
    baseline: bool
    """Whether the line shows the model as it is."""
    entries: list[str]
    """The printed text of each column."""
    means: list[Mean | None]
    """The mean behind each text, where there is a number."""

    @property
    def allocator(self) -> str:
        """The catalog name of the allocator."""
        return self.key[2]

    def rivals(self, lines: list[Line]) -> list[Line]:
        """Select the `lines` (of one model and method) that differ from this one in how the same zeros are shared out.

        Lines that prune half of the blocks do not compare with lines that prune all, nor does one calibration with
        another. A line without calibration (magnitude with an allocator that looks at no text) compares with all.
        """
        calibration = self.key[3]
        return [
            line
            for line in lines
            if line is not self
            and line.half == self.half
            and (calibration == line.key[3] or NO_CALIBRATION in (calibration, line.key[3]))
        ]


def unstructured(rows: pd.DataFrame) -> pd.DataFrame:
    """Leave out the rows with n:m patterns, which leave allocators nothing to decide."""
    return rows[rows["pattern"] == "unstructured"]


def list_columns(rows: pd.DataFrame) -> list[Column]:
    """List a column for each sparsity of `rows` (unstructured) and everything that is measured there, in order."""
    tests = layout.tests(rows)
    pruned = rows[~rows["baseline"]]
    suites = pruned.groupby("sparsity")["suite"].agg(set)
    points = [row for _, row in layout.points(pruned).iterrows()]
    columns = [(layout.point(row), test) for row in points for test in tests if test[0] in suites[row["sparsity"]]]
    return columns or [("", test) for test in tests]


def heads(columns: list[Column], rows: pd.DataFrame, labels: Mapping[str, str]) -> list[tuple[str, str]]:
    """Print the heads of the columns: the sparsity, below it corpus or task, with the suite if two suites have it.

    A mean over tasks has the suite wherever another suite has the same metric: the word does not say which tasks.
    """
    suites = list(rows["suite"].unique())
    measured = rows.dropna(subset="metric").groupby("suite")["metric"].first()
    suffixes = {suite: metric(measured[suite]).suffix if suite in measured else "" for suite in suites}

    shown = [(suite, f"{layout.measured(task, labels)} {suffixes[suite]}".strip()) for _, (suite, task) in columns]
    shared = {suite for suite, suffix in suffixes.items() if list(suffixes.values()).count(suffix) > 1}
    pairs = zip(columns, layout.named(shown), strict=True)
    return [
        (point, f"{suite if task == MEAN and suite in shared else name} {text}".strip())
        for (point, (suite, task)), (name, text) in pairs
    ]


def groups(rows: pd.DataFrame, columns: list[Column], half: Collection[str]) -> Iterator[list[Line]]:
    """Yield the lines of each model and method, dense first. The allocators in `half` come last in their group."""
    for _, of_model in rows.groupby("model", sort=False):
        baselines = set(of_model.loc[of_model["baseline"], "method"])
        for method in sorted(of_model["method"].unique(), key=lambda name: name not in baselines):
            part = of_model[of_model["method"] == method]
            yield sorted(lines_of(part, columns, half), key=lambda line: line.half)


def lines_of(
    rows: pd.DataFrame,
    columns: list[Column],
    half: Collection[str],
    show: Callable[[Mean, layout.Test], str] = lambda mean, _: str(mean),
) -> list[Line]:
    """Make a line with these `columns` for each combination of layout.ROW in `rows`, in order."""
    lines = []
    for values, part in rows.groupby(layout.ROW, sort=False):
        key, baseline = tuple(map(str, values)), bool(part["baseline"].all())
        entries: list[str] = []
        means: list[Mean | None] = []
        points = part.apply(layout.point, axis=1)
        for point, test in columns:
            # The dense model, which has no sparsity, stands in every group.
            seeds = layout.of_test(part if baseline else part[points == point], test)
            blank = layout.blank(seeds)
            means.append(mean(seeds) if blank is None else None)
            entries.append(show(means[-1], test) if means[-1] else str(blank))
        lines.append(Line(key, key[2] in half, baseline, entries, means))
    return lines


def over_dense(line: Line, lines: Collection[Line], at: Sequence[int]) -> float | None:
    """Average over the columns `at` how much worse the means of `line` are than those of the dense model.

    The unit is that of `Mean.value`: the logarithm of a perplexity, or an accuracy as a fraction (then worse is less).
    None without a dense model among `lines`, or if a column lacks a number or a seed of either.
    """
    dense = next((other for other in lines if other.baseline), None)
    pairs = [(line.means[column], dense.means[column]) for column in at] if dense else []
    known = [(mean, base) for mean, base in pairs if mean and base and not (mean.missing or base.missing)]
    if not known or len(known) < len(pairs):
        return None
    return sum(mean.value - base.value for mean, base in known) / len(known)


@dataclass
class ByPoint:
    """The body of a table that has a row per sparsity and line, and what its notes are made from."""

    rows: list[tuple[str, ...]] = field(default_factory=list)
    """The columns STUB, the sparsity, and the text of each column, row by row."""
    lines: list[Line] = field(default_factory=list)
    bold: set[tuple[int, int]] = field(default_factory=set)
    """(row, column) of the entries that stand out."""
    compared: bool = False
    """Whether any line could be compared with another."""


def by_point(
    rows: pd.DataFrame,
    tests: list[layout.Test],
    labels: Mapping[str, str],
    half: Collection[str],
    show: Callable[[Mean, layout.Test], str] = lambda mean, _: str(mean),
    *,
    relative: bool = False,
) -> ByPoint:
    """Make a row for each model, sparsity, method and allocator of `rows`, with `tests` as columns.

    If `relative`, one more column has the points of accuracy that the mean over tasks (of one suite) lies above the
    dense model.
    """
    body = ByPoint()
    means = [column for column, test in enumerate(tests) if len(tests) == 1 or test[1] == MEAN] if relative else []
    for _, of_model in rows.groupby("model", sort=False):
        base = of_model[of_model["baseline"]]
        for _, point in layout.points(of_model).iterrows():
            name = layout.point(point)
            lines = lines_of(layout.at_point(of_model, point), [(name, test) for test in tests], half, show)
            body.bold |= {(len(body.rows) + row, column) for row, column in winners(lines)}
            body.compared |= contested(lines)
            body.lines += lines
            dense = lines_of(base, [(name, test) for test in tests], half, show) if means else []
            for line in lines:
                excess = None if line.baseline else over_dense(line, dense, means)
                points = [] if not means else [""] if excess is None else [f"{100 * excess:+.2f}"]
                body.rows.append((*layout.stub(line.key, rows, labels), name, *line.entries, *points))
    return body


def wins(line: Line, lines: list[Line], column: int) -> bool:
    """Say whether `line` stands out from all its rivals in `column`. It does not while a seed of one is missing."""
    mean, rivals = line.means[column], line.rivals(lines)
    others = [other for rival in rivals if (other := rival.means[column])]
    if mean is None or not others or any(rival.entries[column] == "missing" for rival in rivals):
        return False
    # The nearest rival comes first: most lines fail at once.
    return all(mean.stands_out(other) for other in sorted(others, key=mean.lead))


def winners(lines: list[Line]) -> set[tuple[int, int]]:
    """List (line, column) of all entries that stand out among `lines`. The dense model is no rival."""
    pruned = [line for line in lines if not line.baseline]
    return {
        (row, column)
        for row, line in enumerate(lines)
        if not line.baseline
        for column in range(len(line.means))
        if wins(line, pruned, column)
    }


def contested(lines: list[Line]) -> bool:
    """Say whether any column has numbers of two or more `lines` that could be compared."""
    pruned = [line for line in lines if not line.baseline]
    return any(
        mean and any(rival.means[column] for rival in line.rivals(pruned))
        for line in pruned
        for column, mean in enumerate(line.means)
    )


def explain(lines: list[Line], bold: str, *, spreads: bool = True) -> list[str]:
    """Write the note that explains what ± means and what is bold.

    `bold` describes the bold entries in words, up to how large their lead is. Without `spreads` the table explains ±
    elsewhere.
    """
    means = [mean for line in lines if not line.baseline for mean in line.means if mean]
    if not means:
        return []
    spread, known = any(mean.deviation is not None for mean in means), any(map(_known, means))
    if not spread and not known:
        return ["One seed: the spread is not known, so nothing is bold."]
    tests = [
        *(["sure over the windows of the text (in pairs, 95%)"] if any(mean.losses for mean in means) else []),
        *(["more than 1.96 standard errors"] if any(mean.stderr is not None for mean in means) else []),
        *(["larger than the spread of either"] if spread else []),
    ]
    # A method that looks at no text has one seed only, and needs no other.
    calibrated = [line for line in lines if line.key[3] != NO_CALIBRATION]
    single = any(mean and mean.deviation is None for line in calibrated for mean in line.means)
    notes = []
    if spread and spreads:
        notes.append("±: standard deviation over seeds, of a perplexity that of its logarithm times it.")
    if single and known:
        notes.append("An entry of one seed says nothing about other seeds.")
    elif single:
        notes.append("Where an entry is of one seed, nothing is known to lead it, nor does it lead.")
    notes.append(f"Bold: {bold} {' and '.join(tests)}.")
    if any(line.half for line in lines):
        notes.append("Rows that prune half of the blocks are compared with each other only.")
    return [" ".join(notes)]


def _known(mean: Mean) -> bool:
    """Say whether one seed is enough to know how sure a lead is."""
    return mean.losses is not None or mean.stderr is not None
