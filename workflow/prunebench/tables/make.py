"""Making one table of one study from the rows of results/cells.csv."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench import registry
from prunebench.cell import AXES, Cell
from prunebench.plan import paths
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records
from prunebench.storage.sealed import check_mark
from prunebench.suites.metrics import metric
from prunebench.tables.base import Evidence
from prunebench.tables.escape import from_csv
from prunebench.tables.table import Table

COMPARED = ("torch", "transformers", "numpy")


def read_cells(path: Path) -> pd.DataFrame:
    """Read the rows of a results/cells.csv; sparsities stay text. Raises Damaged if it has changed since `collect`."""
    check_mark(path)
    cells = pd.read_csv(path, dtype={"sparsity": str})
    return cells.assign(reason=cells["reason"].map(from_csv, na_action="ignore"))


def make_table(plan: Plan, cells: pd.DataFrame, study: str, table: str, records: Records) -> Table:
    """Make `table` of `study` from `cells` (see `read_cells`); `records` know the losses behind perplexities."""
    kind = registry.load("tables", table)
    evidence = Evidence(plan, study, cells, records)
    rows = evidence.rows(plan.shown.suites_of(study, table))
    if kind.metrics:
        rows = rows[rows["metric"].isna() | rows["metric"].isin(kind.metrics)]
    made: Table = kind().make(with_losses(rows, records), evidence)
    made.notes.extend([*partly_pruned(plan, study), *mixed_conditions(plan, study, records)])
    return made


def with_losses(cells: pd.DataFrame, records: Records) -> pd.DataFrame:
    """Add a column `losses` to `cells`: the loss of each window for perplexities, None for all else.

    Losses that do not give the perplexity of the row (because the CSV is older) are left out.
    """

    def losses(row: Mapping[Hashable, Any]) -> list[float] | None:
        if row["status"] != "ok" or not metric(row["metric"]).log:
            return None
        cell = Cell(**{axis: row[axis] for axis in AXES})
        scores = {score["task"]: score for score in records.evaluation(cell, row["suite"]).get("scores", ())}
        windows = scores[row["task"]]["details"].get("window_losses") if row["task"] in scores else None
        return windows if windows and math.isclose(math.log(row["value"]), math.fsum(windows) / len(windows)) else None

    values = [losses(row) for row in cells.to_dict("records")]
    return cells.assign(losses=pd.Series(values, index=cells.index, dtype=object))


def partly_pruned(plan: Plan, study: str) -> list[str]:
    """Write a note if rows of a study prune only the first half of the blocks."""
    allocators = {cell.allocator: plan.config.allocators[cell.allocator] for cell in plan.studies[study].cells}
    half = [name for name, entry in allocators.items() if entry.layers == "first_half"]
    labels = plan.shown.labels()
    rows = ", ".join(labels[f"allocators/{name}"] for name in half)
    meaning = "of L blocks only the first L/2 (rounded down) are pruned; the sparsity of all L is about half as high"
    return [f"{rows}: {meaning}."] if rows else []


def mixed_conditions(plan: Plan, study: str, records: Records) -> list[str]:
    """Write a note if not all rows of a study were made on the same kind of device with the same library versions."""
    conditions: Counter[str] = Counter()
    expansion = plan.studies[study]
    for cell in expansion.cells:
        where = {**cell.wildcards, "suite": ""}
        files = [Path(paths.PRUNE_MEASURED.format(**where))]
        files += [Path(paths.EVALUATION_MEASURED.format(**where | {"suite": s})) for s in expansion.suites[cell]]
        for measured in filter(None, map(records.cost, filter(Path.exists, files))):
            libraries = [f"{name} {measured['versions'].get(name)}" for name in COMPARED]
            conditions[", ".join([measured["device"], *libraries])] += 1
    if len(conditions) < 2:
        return []
    listed = "; ".join(f"{condition} ({count} jobs)" for condition, count in conditions.items())
    return [f"Mixed conditions, small differences may come from them: {listed}."]
