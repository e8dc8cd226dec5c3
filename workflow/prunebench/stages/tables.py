"""Stage tables: one table of one study, in every format."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd

from prunebench import paths
from prunebench.files import read_json, write_text
from prunebench.plan import Plan
from prunebench.tables.allocators import allocators_table
from prunebench.tables.gain import gain_table
from prunebench.tables.perplexity import perplexity_table
from prunebench.tables.rounding import rounding_notes
from prunebench.tables.table import Table
from prunebench.tables.zeroshot import zeroshot_table

COMPARED = ("torch", "transformers", "numpy")

TABLES: dict[str, Callable[..., Table]] = {
    "perplexity": perplexity_table,
    "zeroshot": zeroshot_table,
    "allocators": allocators_table,
    "gain": gain_table,
}


def write_table(plan: Plan, cells: Path, study: str, table: str, outputs: Sequence[Path]) -> None:
    """Make `table` of `study` from the CSV `cells`, once per output; the format is the output's suffix."""
    made = make_table(plan, read_cells(cells), study, table)
    for output in outputs:
        write_text(output, made.render(output.suffix.removeprefix(".")))


def read_cells(path: Path) -> pd.DataFrame:
    """The rows of a results/cells.csv."""
    return pd.read_csv(path, dtype={"sparsity": str})


def make_table(plan: Plan, cells: pd.DataFrame, study: str, table: str) -> Table:
    """`table` of `study`, of the rows that `read_cells` gives."""
    mine = cells[(cells["study"] == study) & cells["suite"].isin(plan.suites_of(study, table))]
    made = TABLES[table](mine, study, plan.labels(), **_by_allocator(plan, table))
    if table == "perplexity":
        made.notes.extend(rounding_notes(mine, plan.computations(), plan.labels()))
    made.notes.extend([*partly_pruned(plan, study), *mixed_conditions(plan, study)])
    return made


def _by_allocator(plan: Plan, table: str) -> dict[str, list[str]]:
    """What the tables of allocators want to know of them."""
    entries = plan.config.allocators.items()
    half = [name for name, entry in entries if entry.layers == "first_half"]
    even = [name for name, entry in entries if entry.allocator == "uniform"]
    return {"allocators": {"half": half}, "gain": {"half": half, "even": even}}.get(table, {})


def partly_pruned(plan: Plan, study: str) -> list[str]:
    """A note if rows of a study prune only the first half of the blocks."""
    allocators = {cell.allocator: plan.config.allocators[cell.allocator] for cell in plan.studies[study].cells}
    rows = ", ".join(plan.labels()[name] for name, entry in allocators.items() if entry.layers == "first_half")
    meaning = "of L blocks only the first L/2 (rounded down) are pruned; the sparsity of all L is about half as high"
    return [f"{rows}: {meaning}."] if rows else []


def mixed_conditions(plan: Plan, study: str) -> list[str]:
    """A note if the rows of a study were not all made on the same kind of device with the same library versions."""
    conditions: dict[str, int] = {}
    expansion = plan.studies[study]
    for cell in expansion.cells:
        where = {**cell.wildcards, "suite": ""}
        files = [Path(paths.PRUNE_MEASURED.format(**where))]
        files += [Path(paths.EVALUATION_MEASURED.format(**where | {"suite": s})) for s in expansion.suites[cell]]
        for file in filter(Path.exists, files):
            measured = read_json(file)
            libraries = [f"{name} {measured['versions'].get(name)}" for name in COMPARED]
            condition = ", ".join([measured["device"], *libraries])
            conditions[condition] = conditions.get(condition, 0) + 1
    if len(conditions) < 2:
        return []
    listed = "; ".join(f"{condition} ({count} jobs)" for condition, count in conditions.items())
    return [f"Mixed conditions, small differences may come from them: {listed}."]
