"""Making one table of one study from the rows of results/cells.csv."""

import math
from collections import Counter
from collections.abc import Hashable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench import registry
from prunebench.cell import AXES, NO_CALIBRATION, Cell
from prunebench.config.schema import calibration_parts
from prunebench.plan import paths
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records
from prunebench.storage.sealed import Damaged, check_mark
from prunebench.suites.metrics import MEAN, metric
from prunebench.tables import layout
from prunebench.tables.base import Evidence
from prunebench.tables.escape import from_csv
from prunebench.tables.means import with_errors
from prunebench.tables.table import Table

COMPARED = ("torch", "transformers", "numpy")
NUMBERS = ("seed", "value", "stderr", "n", "achieved_sparsity", "prune_seconds", "prune_cpu_seconds", "peak_memory_mb")
"""The columns of results/cells.csv that are numbers. All others are text, also a model that is called 007 or nan."""


def current_cells(plan: Plan, path: Path) -> pd.DataFrame:
    """Read the rows of a results/cells.csv that was gathered for `plan`; see `read_cells`.

    Raises Damaged if it is not: options of Snakemake such as --touch keep a file that was made from another config.
    """
    cells = read_cells(path)
    rows = zip(*(cells[name].tolist() for name in ("study", *AXES, "suite", "spec_hash")), strict=True)
    # A skipped cell has no spec.
    gathered = {tuple(row[:-1]): row[-1] for row in rows if isinstance(row[-1], str)}
    expected = {
        (study, *(getattr(cell, axis) for axis in AXES), suite): plan.job(
            "evaluate", **cell.wildcards, suite=suite
        ).spec_hash
        for study, expansion in plan.studies.items()
        for cell in expansion.cells
        for suite in expansion.suites[cell]
    }
    if gathered != expected:
        raise Damaged(path, "was made from other settings or code")
    return cells


def read_cells(path: Path) -> pd.DataFrame:
    """Read the rows of a results/cells.csv. Raises Damaged if it has changed since `collect`."""
    check_mark(path)
    texts = {name: str for name in pd.read_csv(path, nrows=0) if name not in NUMBERS}
    # Of the words that pandas takes for missing values, such as nan and null, some are names.
    cells = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    return cells.assign(reason=cells["reason"].map(from_csv, na_action="ignore"))


def make_table(plan: Plan, cells: pd.DataFrame, study: str, table: str, records: Records) -> Table:
    """Make `table` of `study` from `cells` (see `current_cells`); `records` know the losses behind perplexities."""
    kind = registry.load("tables", table)
    evidence = Evidence(plan, study, cells, records)
    rows = evidence.rows(plan.shown.suites_of(study, table))
    if kind.metrics:
        rows = rows[rows["metric"].isna() | rows["metric"].isin(kind.metrics)]
    made: Table = kind().make(with_losses(with_errors(rows), records), evidence)
    made = replace(made, label=f"{study}-{table}")
    made.notes.extend([*setting(plan, rows), *partly_pruned(plan, study), *mixed_conditions(plan, study, records)])
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


def setting(plan: Plan, rows: pd.DataFrame) -> list[str]:
    """Write a note on the texts and seeds of the calibration of `rows`, and one on suites if there are several."""
    labels = plan.shown.labels()
    calibrated = rows[rows["calibration"] != NO_CALIBRATION]
    texts = []
    for calibration in calibrated["calibration"].unique():
        corpus, samples, seqlen = calibration_parts(calibration)
        texts.append(f"{samples} x {seqlen} tokens of {labels.get(f'corpora/{corpus}', corpus)}")
    seeds = sorted(calibrated["seed"].astype(int).unique())
    listed = f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"
    suites = [_suite(str(name), of_suite, labels) for name, of_suite in rows.groupby("suite", sort=False)]
    return [
        *([f"Calibration: {'; '.join(texts)}; {listed}."] if texts else []),
        *([f"Suites: {'; '.join(suites)}."] if len(suites) > 1 else []),
    ]


def _suite(name: str, rows: pd.DataFrame, labels: Mapping[str, str]) -> str:
    """Name a suite, its title, and in brackets the texts or tasks of its `rows`: heads of columns name no suite."""
    tasks = [layout.measured(task, labels) for task in rows["task"].dropna().unique() if task != MEAN]
    title = labels.get(f"suites/{name}")
    return name + (f": {title}" if title else "") + (f" ({', '.join(tasks)})" if tasks else "")


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
