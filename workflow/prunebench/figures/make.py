"""One figure of one study, as data."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

import pandas as pd

from prunebench.cell import AXES, NO_CALIBRATION, Cell
from prunebench.figures.agreement import agreement_chart
from prunebench.figures.allocation import allocation_chart
from prunebench.figures.calibration import calibration_chart
from prunebench.figures.chart import Chart
from prunebench.figures.convergence import convergence_chart
from prunebench.figures.cost import cost_chart
from prunebench.figures.look import Look
from prunebench.figures.perplexity import perplexity_chart
from prunebench.figures.reconstruction import reconstruction_chart
from prunebench.figures.search import COLUMNS, course, search_chart
from prunebench.plan.grid import allocation_form
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records
from prunebench.tables.make import partly_pruned

OF_CELLS = {"perplexity": perplexity_chart, "calibration": calibration_chart, "cost": cost_chart}


OF_BLOCKS = {
    "allocation": allocation_chart,
    "reconstruction": reconstruction_chart,
    "convergence": convergence_chart,
}


def make_chart(plan: Plan, cells: pd.DataFrame, records: Records, study: str, figure: str) -> Chart:
    """`figure` of `study` as data."""
    if figure == "search":  # of which no cell is a part
        return search_chart(*search_courses(plan, records, study), make_look(plan, study))
    chart = _chart(plan, cells, records, study, figure)
    chart.notes.extend(partly_pruned(plan, study))
    return chart


def _chart(plan: Plan, cells: pd.DataFrame, records: Records, study: str, figure: str) -> Chart:
    look = make_look(plan, study)
    if figure in OF_CELLS:
        mine = cells[(cells["study"] == study) & cells["suite"].isin(plan.shown.suites_of(study, "perplexity"))]
        return OF_CELLS[figure](mine, study, look)
    if figure == "agreement":
        return agreement_chart(promised_rows(plan, cells, records, study), look)
    rows = block_rows(plan, records, study, figure)
    drawn = plan.shown.figure_cells(study, figure)
    expected = len({allocation_form(plan.config, cell) for cell in drawn} if figure == "allocation" else drawn)
    return OF_BLOCKS[figure](rows, expected, look)


def make_look(plan: Plan, study: str) -> Look:
    """Labels and styles of a study's rows."""
    cells = plan.studies[study].cells
    return Look(
        labels=plan.shown.labels(),
        methods=list(dict.fromkeys(cell.method for cell in cells if cell.method != "dense")),
        allocators=list(dict.fromkeys(cell.allocator for cell in cells)),
        calibrations=list(dict.fromkeys(cell.calibration for cell in cells if cell.calibration != NO_CALIBRATION)),
        patterns=list(dict.fromkeys(cell.pattern for cell in cells if cell.shape.structured)),
        structured=list(dict.fromkeys(cell.allocator for cell in cells if cell.shape.structured)),
        partial=[name for name, entry in plan.config.allocators.items() if entry.layers == "first_half"],
    )


def search_courses(plan: Plan, records: Records, study: str) -> tuple[pd.DataFrame, list[str]]:
    """A row per evaluation of every run of the searches that `study` shows, and notes on what they rest on.

    Searches of which any seed has no result are left out: the mean of the others would be that of the lucky.
    """
    found = {run: records.search(*run) for run in plan.shown.searches(study)}
    bad = {run: record for run, record in found.items() if record["status"] != "ok"}
    rows = [
        {
            **plan.config.searches[name].model_dump(include={"strategy", "space", "model", "sparsity"}),
            **{"search": name, "seed": seed, "pattern": "unstructured", "uniform": record["uniform"]},
            **{"evaluation": evaluation, "best": best},
        }
        for (name, seed), record in found.items()
        if name not in {search for search, _ in bad}
        for evaluation, best in course(record["history"]).items()
    ]
    statuses = Counter(entry["status"] for record in found.values() for entry in record.get("history", ()))
    notes = [f"Rests on {len(found) - len(bad)} of {len(found)} runs of searches."]
    notes += [f"{record['status']}: {name}, seed {seed}: {record['reason']}." for (name, seed), record in bad.items()]
    if statuses["invalid"] or statuses["known"]:
        notes.append(
            f"Candidates that were invalid ({statuses['invalid']}) or the same as an earlier one ({statuses['known']}) "
            "cost no evaluation."
        )
    return pd.DataFrame(rows, columns=list(COLUMNS)), notes


def promised_rows(plan: Plan, cells: pd.DataFrame, records: Records, study: str) -> pd.DataFrame:
    """The rows of `cells` that figure `agreement` shows, and what the search had `promised` of each."""
    promised = {str(cell): records.promised(cell) for cell in plan.shown.figure_cells(study, "agreement")}
    mine = cells[(cells["study"] == study) & cells["suite"].isin(plan.shown.suites_of(study, "perplexity"))]
    drawn: Iterable[Any] = mine[list(AXES)].to_dict("records")
    names = pd.Series([str(Cell(**axes)) for axes in drawn], index=mine.index)
    return mine.assign(promised=names.map(promised))[names.isin(list(promised))]


def block_rows(plan: Plan, records: Records, study: str, figure: str) -> pd.DataFrame:
    """A row per block of every cell (for `allocation`: of every allocation) that `figure` draws and that is pruned.

    For `convergence` a row per block and epoch.
    """
    read = records.epochs if figure == "convergence" else records.blocks
    rows: dict[str, list[dict[str, object]]] = {}
    for cell in plan.shown.figure_cells(study, figure):
        shown = allocation_form(plan.config, cell) if figure == "allocation" else cell
        if str(shown) not in rows and (blocks := read(cell)):
            rows[str(shown)] = [{**asdict(shown), "id": str(shown), **block} for block in blocks]
    values = {"convergence": ("epoch", "loss", "reconstruction", "kept")}
    columns = [*AXES, "id", "block", *values.get(figure, ("share", "zeros", "low", "error", "high"))]
    return pd.DataFrame([row for of in rows.values() for row in of], columns=columns)
