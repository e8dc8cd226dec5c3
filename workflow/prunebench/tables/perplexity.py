"""The perplexity table: a row per model, method and allocator; a group of columns per sparsity, a column per corpus."""

import math
from collections.abc import Mapping

import pandas as pd

from prunebench.tables.table import Table

ROW = ["model", "method", "allocator", "calibration"]


def perplexity_table(cells: pd.DataFrame, study: str, labels: Mapping[str, str] | None = None) -> Table:
    """Lay out the perplexities of `study`; `labels` maps catalog names to titles.

    `cells` holds the rows of results/cells.csv whose suites measure perplexity.

    Several seeds become the geometric mean and, after ±, the standard deviation of the log-perplexity times it.
    Cells without a number say why they have none. The dense model, which has no sparsity, stands in every group.
    """
    labels = labels or {}
    mine = cells[cells["study"] == study]
    suites = list(dict.fromkeys(mine["suite"]))
    tests = [
        (suite, task) for suite in suites for task in dict.fromkeys(mine.loc[mine["suite"] == suite, "task"].dropna())
    ]
    tests = tests or [(suite, "") for suite in suites]
    groups = _groups(mine[mine["method"] != "dense"]) or [""]
    columns = [(group, suite, task) for group in groups for suite, task in tests]
    calibrations = set(mine["calibration"]) - {"none"}
    rows = []
    for (model, method, allocator, calibration), part in mine.groupby(ROW, sort=False):
        points = part.apply(_group, axis=1)
        entries = []
        for group, suite, task in columns:
            here = part if method == "dense" else part[points == group]
            entries.append(_entry(here[(here["suite"] == suite) & (here["task"].isna() | (here["task"] == task))]))
        keys = (str(model), str(method), "" if method == "dense" else str(allocator))
        names = [labels.get(key, key) for key in keys]
        rows.append((*names, str(calibration) if len(calibrations) > 1 and calibration != "none" else "", *entries))
    protocol = f" ({labels[suites[0]]})" if len(suites) == 1 and suites[0] in labels else ""
    return Table(
        title=f"Perplexity, lower is better, study {study}{protocol}",
        stub=("Model", "Method", "Allocator", "Calibration"),
        columns=[(group, task if len(suites) == 1 else f"{suite} {task}") for group, suite, task in columns],
        rows=rows,
        notes=[_counts(mine), *_reasons(mine, labels)],
    )


def _group(row: "pd.Series[str]") -> str:
    percent = f"{float(row['sparsity']) * 100:.0f}%"
    return percent if row["pattern"] == "unstructured" else f"{row['pattern']} ({percent})"


def _groups(rows: pd.DataFrame) -> list[str]:
    """Column groups: unstructured by sparsity, then the n:m patterns."""
    points = rows[["pattern", "sparsity"]].drop_duplicates()
    points = points.assign(structured=points["pattern"] != "unstructured")
    return [_group(row) for _, row in points.sort_values(["structured", "sparsity", "pattern"]).iterrows()]


def _entry(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    if (rows["status"] != "ok").any():
        return str(rows.loc[rows["status"] != "ok", "status"].iloc[0])
    logs = rows["value"].astype(float).map(math.log)
    mean = math.exp(logs.mean())
    return f"{mean:.2f}" if len(logs) == 1 else f"{mean:.2f} ± {mean * logs.std():.2f}"


def _counts(rows: pd.DataFrame) -> str:
    """How many of the expected cells the table rests on."""
    cells = rows.groupby([*ROW, "pattern", "sparsity", "seed"], sort=False)["status"].agg(set)
    worst = ("missing", "failed", "skipped", "ok")
    counts = pd.Series([next(status for status in worst if status in found) for found in cells]).value_counts()
    parts = [f"{counts[status]} {status}" for status in ("failed", "skipped", "missing") if status in counts]
    return f"{counts.get('ok', 0)} of {len(cells)} cells" + (f" ({', '.join(parts)})" if parts else "") + "."


def _reasons(rows: pd.DataFrame, labels: Mapping[str, str]) -> list[str]:
    notes = []
    for _, row in rows[rows["status"] != "ok"].iterrows():
        cell = f"{labels.get(row['method'], row['method'])}, {row['allocator']}, {_group(row)}, seed {row['seed']}"
        notes.append(f"{row['status']}: {cell}: {row['reason']}")
    return list(dict.fromkeys(notes))
