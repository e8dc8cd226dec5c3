"""What the tables of all suites share: how rows of results/cells.csv become labels, entries and notes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pandas as pd

ROW = ["model", "method", "allocator", "calibration"]
POINT = ["pattern", "sparsity"]
STUB = ("Model", "Method", "Allocator", "Calibration")

Test = tuple[str, str]
"""Suite and task."""


def of_study(cells: pd.DataFrame, study: str) -> pd.DataFrame:
    """The rows of `study`; methods that take no orders (an external checkpoint) stand at the sparsity they have.

    Column `baseline` of `cells` says whether the method of a row leaves the model as it is.
    """
    mine = cells[cells["study"] == study]
    free = (mine["sparsity"] == "0.00") & ~mine["baseline"] & mine["achieved_sparsity"].notna()
    return mine.assign(sparsity=mine["sparsity"].mask(free, mine["achieved_sparsity"].map("{:.2f}".format)))


def tests(rows: pd.DataFrame) -> list[Test]:
    """Every suite and task of `rows`, in their order; a suite without any number has one task without a name."""
    found = []
    for suite, part in rows.groupby("suite", sort=False):
        found += [(str(suite), str(task)) for task in part["task"].dropna().unique()] or [(str(suite), "")]
    return found


def of_test(rows: pd.DataFrame, test: Test) -> pd.DataFrame:
    """The rows of `test`, and those of its suite that have no number for any task."""
    return rows[(rows["suite"] == test[0]) & (rows["task"].isna() | (rows["task"] == test[1]))]


def blank(found: pd.DataFrame) -> str | None:
    """What stands in a table for what `of_test` has found if not a number: nothing, or why there is none."""
    bad = found.loc[found["status"] != "ok", "status"]
    if len(bad):
        return str(bad.iloc[0])
    return None if len(found) else ""


def point(row: pd.Series[str]) -> str:
    """Sparsity as tables print it: 50%, or 2of4 (50%)."""
    percent = f"{float(row['sparsity']) * 100:.0f}%"
    return percent if row["pattern"] == "unstructured" else f"{row['pattern']} ({percent})"


def points(rows: pd.DataFrame) -> pd.DataFrame:
    """The distinct patterns and sparsities of `rows`: unstructured by sparsity, then n:m."""
    found = rows[POINT].drop_duplicates()
    found = found.assign(structured=found["pattern"] != "unstructured")
    return found.sort_values(["structured", "sparsity", "pattern"])[POINT]


def stub(key: Iterable[object], rows: pd.DataFrame, labels: Mapping[str, str]) -> tuple[str, ...]:
    """What stands in the columns STUB for `key` (values of ROW), where `rows` are all rows of the table."""
    model, method, allocator, calibration = map(str, key)
    allocated = method not in set(rows.loc[rows["baseline"], "method"])
    names = {"models": model, "methods": method, "allocators": allocator if allocated else ""}
    several = len(set(rows["calibration"]) - {"none"}) > 1
    shown = calibration if several and calibration != "none" else ""
    return (*(labels.get(f"{kind}/{name}", name) for kind, name in names.items()), shown)


def protocol(rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """The title of the suite, if all rows are of one and it has a title."""
    suites = rows["suite"].unique()
    title = labels.get(f"suites/{suites[0]}") if len(suites) == 1 else None
    return f" ({title})" if title else ""


def statuses(rows: pd.DataFrame) -> pd.Series[str]:
    """The status of each cell of `rows`: the worst that it has on any of its suites."""
    worst = ("missing", "failed", "skipped", "ok")
    cells = rows.groupby([*ROW, *POINT, "seed"], sort=False)["status"].agg(set)
    return cells.map(lambda found: next(status for status in worst if status in found))


def counts(rows: pd.DataFrame) -> str:
    """How many of the expected cells the table rests on."""
    cells = statuses(rows)
    found = cells.value_counts()
    parts = [f"{found[status]} {status}" for status in ("failed", "skipped", "missing") if status in found]
    return f"{found.get('ok', 0)} of {len(cells)} cells" + (f" ({', '.join(parts)})" if parts else "") + "."


def reasons(rows: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    """One note for each cell without a number."""
    notes = []
    for _, row in rows[rows["status"] != "ok"].iterrows():
        method, allocator = (labels.get(f"{axis}s/{row[axis]}", row[axis]) for axis in ("method", "allocator"))
        cell = f"{method}, {allocator}, {point(row)}, seed {row['seed']}"
        notes.append(f"{row['status']}: {cell}: {row['reason']}")
    return list(dict.fromkeys(notes))
