"""The layout that the tables of all suites share: how rows of results/cells.csv become labels, entries and notes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from prunebench.cell import NO_CALIBRATION
from prunebench.names import few

if TYPE_CHECKING:
    import pandas as pd

ROW = ["model", "method", "allocator", "calibration"]
POINT = ["pattern", "sparsity"]
STUB = ("Model", "Method", "Allocator", "Calibration")

SO_FAR = "(2 of 3): the mean of the seeds that are there, until the others have run; it is compared with no other mean."
"""The note on means of some of the seeds."""

NAMED = 4
"""The largest number of cells that are named with one reason, and of notes on missing cells."""
MISSING = "missing"

Test = tuple[str, str]
"""A suite and one of its tasks."""


def of_study(cells: pd.DataFrame, study: str) -> pd.DataFrame:
    """Select the rows of `study`. A method that takes no orders (an external checkpoint) gets the sparsity it has.

    Column `baseline` of `cells` says whether the method of a row leaves the model as it is.
    """
    rows = cells[cells["study"] == study]
    free = (rows["sparsity"] == "0.00") & ~rows["baseline"] & rows["achieved_sparsity"].notna()
    return rows.assign(sparsity=rows["sparsity"].mask(free, rows["achieved_sparsity"].map("{:.2f}".format)))


def tests(rows: pd.DataFrame) -> list[Test]:
    """List every suite and task of `rows`, in order. A suite without any number has one task without a name."""
    pairs: list[Test] = []
    for suite, part in rows.groupby("suite", sort=False):
        pairs += [(str(suite), str(task)) for task in part["task"].dropna().unique()] or [(str(suite), "")]
    return pairs


def of_test(rows: pd.DataFrame, test: Test) -> pd.DataFrame:
    """Select the rows of `test`, and the rows of its suite that have no number for any task."""
    return rows[(rows["suite"] == test[0]) & (rows["task"].isna() | (rows["task"] == test[1]))]


def measured(task: str, labels: Mapping[str, str]) -> str:
    """Find the one name that a text or a task has in tables, figures and the report: its title, if it has one."""
    return labels.get(f"corpora/{task}", labels.get(f"tasks/{task}", task))


def named(shown: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Leave out the suite of each (suite, text of a head) whose text is in the heads of no other suite.

    A head without a text keeps its suite.
    """
    suites: dict[str, set[str]] = {}
    for suite, text in shown:
        suites.setdefault(text, set()).add(suite)
    return [("" if text and len(suites[text]) == 1 else suite, text) for suite, text in shown]


def blank(rows: pd.DataFrame) -> str | None:
    """Give the entry of a table for `rows` (see `of_test`) that have no number: the status, or an empty text if there
    are no rows.

    None means that there is a mean to show: every row has a number, or the seeds of the others have not run yet. If a
    seed has failed, the mean of the other seeds would be the mean of the lucky ones, so the entry is "failed".
    """
    statuses = set(rows["status"])
    if "ok" in statuses and statuses <= {"ok", "missing"}:
        return None
    return next((status for status in ("failed", "skipped", "missing") if status in statuses), "")


def point(row: pd.Series[str]) -> str:
    """Print the sparsity of `row` as tables do: 50%, or 2of4 (50%)."""
    percent = f"{float(row['sparsity']) * 100:.0f}%"
    return percent if row["pattern"] == "unstructured" else f"{row['pattern']} ({percent})"


def points(rows: pd.DataFrame) -> pd.DataFrame:
    """List the distinct patterns and sparsities of `rows`: unstructured ones by sparsity, then n:m."""
    distinct = rows[POINT].drop_duplicates()
    distinct = distinct.assign(structured=distinct["pattern"] != "unstructured")
    return distinct.sort_values(["structured", "sparsity", "pattern"])[POINT]


def at_point(rows: pd.DataFrame, point: pd.Series[str]) -> pd.DataFrame:
    """Select the rows that have the pattern and the sparsity of `point`, a row of `points`."""
    return rows[(rows[POINT] == point).all(axis=1)]


def stub(key: Iterable[object], rows: pd.DataFrame, labels: Mapping[str, str]) -> tuple[str, ...]:
    """Print the columns STUB for `key` (values of ROW), where `rows` are all rows of the table."""
    model, method, allocator, calibration = map(str, key)
    allocated = method not in set(rows.loc[rows["baseline"], "method"])
    names = {"models": model, "methods": method, "allocators": allocator if allocated else ""}
    several = len(set(rows["calibration"]) - {NO_CALIBRATION}) > 1
    shown = calibration if several and calibration != NO_CALIBRATION else ""
    return (*(labels.get(f"{kind}/{name}", name) for kind, name in names.items()), shown)


def caption(contents: str, study: str, labels: Mapping[str, str], rows: pd.DataFrame | None = None) -> str:
    """Print the caption of a table: its `contents` in a few words, and the title of `study`, or its key without one.

    If all `rows` are of one suite and the suite has a title, that title follows in brackets.
    """
    suites = [] if rows is None else list(rows["suite"].unique())
    protocol = labels.get(f"suites/{suites[0]}") if len(suites) == 1 else None
    title = labels.get(f"studies/{study}", f"study {study}")
    return f"{contents}: {title}" + (f" ({protocol})" if protocol else "")


def statuses(rows: pd.DataFrame) -> pd.Series[str]:
    """Find the status of each cell of `rows`: the worst that it has on any of its suites."""
    cells = rows.groupby([*ROW, *POINT, "seed"], sort=False)["status"].agg(set)
    return cells.map(worst)


def worst(statuses: Collection[str]) -> str:
    """Choose the worst of `statuses`, which a cell has on its suites."""
    return next(status for status in ("missing", "failed", "skipped", "ok") if status in statuses)


def counts(rows: pd.DataFrame) -> str:
    """Say in a note on how many of the expected cells the table rests."""
    cells = statuses(rows)
    numbers = cells.value_counts()
    parts = [f"{numbers[status]} {status}" for status in ("failed", "skipped", "missing") if status in numbers]
    return f"{numbers.get('ok', 0)} of {len(cells)} cells" + (f" ({', '.join(parts)})" if parts else "") + "."


def reasons(rows: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """Write one note for each cell without a number: its status, its name and the reason.

    More than NAMED cells with one reason share a note, which names the first of them. Reasons of missing cells differ
    little, so no more than NAMED notes are on them. A name has the model, the calibration and the suite where `rows`
    have several. A note before these explains the means of which some seeds are missing.
    """
    several = {axis for axis in ("model", "calibration", "suite") if rows[axis].nunique() > 1}
    cells: dict[tuple[str, str], dict[str, None]] = {}
    for _, row in rows[rows["status"] != "ok"].iterrows():
        model, method, allocator = (labels.get(f"{axis}s/{row[axis]}", row[axis]) for axis in ROW[:3])
        name = [model] if "model" in several else []
        name += [f"{method} + {allocator}", point(row)]
        name += [row["calibration"]] if "calibration" in several and row["calibration"] != NO_CALIBRATION else []
        name += [f"seed {row['seed']}", *([f"suite {row['suite']}"] if "suite" in several else [])]
        cells.setdefault((row["status"], row["reason"]), {})[", ".join(name)] = None
    notes = [SO_FAR] if _some_seeds_are_missing(rows) else []
    left = NAMED
    unnamed = 0
    for (status, reason), names in cells.items():
        for sharing in [[*names]] if len(names) > NAMED else [[name] for name in names]:
            if status == MISSING and not left:
                unnamed += len(sharing)
                continue
            left -= status == MISSING
            notes.append(f"{status}: {few(sharing, NAMED)}: {reason}")
    return [*notes, *([f"{MISSING}: {unnamed} more, with their reasons in cells.csv"] if unnamed else [])]


def _some_seeds_are_missing(rows: pd.DataFrame) -> bool:
    """Say whether an entry of the table is the mean of some of its seeds, because others have not run yet."""
    entries = rows.groupby([*ROW, *POINT, "suite"], sort=False)["status"].agg(set)
    return any("ok" in statuses and "missing" in statuses and statuses <= {"ok", "missing"} for statuses in entries)
