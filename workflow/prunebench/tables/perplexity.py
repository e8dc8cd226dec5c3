"""The perplexity table: a row per model, method and allocator; a group of columns per sparsity, a column per corpus."""

import math

import pandas as pd

from prunebench.tables.table import Table

ROW = ["model", "method", "allocator"]


def perplexity_table(cells: pd.DataFrame, study: str, labels: dict[str, str] | None = None) -> Table:
    """Lay out the perplexities of `study`; `cells` is results/cells.csv, `labels` maps catalog names to titles.

    Several seeds become the geometric mean and, after ±, the standard deviation of the log-perplexity times it.
    Cells without a number say why they have none. The dense model, which has no sparsity, stands in every group.
    """
    mine = cells[cells["study"] == study]
    wanted = mine[(mine["metric"] == "perplexity") | mine["status"].isin(["failed", "skipped", "missing"])]
    dense = wanted["method"] == "dense"
    groups = _groups(wanted[~dense])
    tasks = list(dict.fromkeys(wanted["task"].dropna())) or [""]
    columns = [(group, task) for group in groups for task in tasks] or [("", task) for task in tasks]
    rows = []
    for key, part in wanted.groupby(ROW, sort=False):
        points = part.apply(_group, axis=1)
        values = []
        for group, task in columns:
            here = part if part["method"].iloc[0] == "dense" else part[points == group]
            values.append(_entry(here[here["task"].isna() | (here["task"] == task)]))
        names = [(labels or {}).get(str(name), str(name)) for name in key]
        rows.append((*names[:2], "" if key[1] == "dense" else names[2], *values))
    return Table(
        title=f"Perplexity (lower is better), study {study}",
        stub=("Model", "Method", "Allocator"),
        columns=[(group, (labels or {}).get(task, task)) for group, task in columns],
        rows=rows,
        notes=[_counts(mine), *_reasons(wanted, labels or {})],
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
    cells = rows.groupby([*ROW, "pattern", "sparsity", "calibration", "seed"], sort=False)["status"].agg(set)
    worst = ("missing", "failed", "skipped", "ok")
    counts = pd.Series([next(status for status in worst if status in found) for found in cells]).value_counts()
    parts = [f"{counts[status]} {status}" for status in ("failed", "skipped", "missing") if status in counts]
    return f"{counts.get('ok', 0)} of {len(cells)} cells" + (f" ({', '.join(parts)})" if parts else "") + "."


def _reasons(rows: pd.DataFrame, labels: dict[str, str]) -> list[str]:
    notes = []
    for _, row in rows[rows["status"] != "ok"].iterrows():
        cell = f"{labels.get(row['method'], row['method'])}, {row['allocator']}, {_group(row)}, seed {row['seed']}"
        notes.append(f"{row['status']}: {cell}: {row['reason']}")
    return list(dict.fromkeys(notes))
