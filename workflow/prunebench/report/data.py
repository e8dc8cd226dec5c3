"""Gathering everything that the report shows, from `Records` and results/cells.csv only: never an older number."""

from typing import Any

import pandas as pd
import yaml

from prunebench.cell import AXES, Cell
from prunebench.figures.make import make_chart
from prunebench.plan.plan import Plan
from prunebench.report.about import about
from prunebench.report.cells import cell_details, cell_id, cell_table
from prunebench.report.plots import plots, swatches
from prunebench.report.provenance import assets, machines
from prunebench.results.detail import Records
from prunebench.tables import layout
from prunebench.tables.make import make_table

STATUSES = {"ok": "done", "failed": "failed", "skipped": "skipped", "missing": "missing"}
"""The words of the report by the statuses of cells.csv."""


def gather(plan: Plan, cells: pd.DataFrame) -> dict[str, Any]:
    """Collect what the template needs: texts, tables and counts.

    The page embeds the rest for its script: `data`, and `details`, an iterator of (id, details) of the cells.
    """
    records = Records(plan)
    studies = [_study(plan, cells, records, name) for name in plan.studies]
    plotted = {figure["id"]: figure.pop("plots") for study in studies for figure in study["figures"]}
    return {
        "title": ", ".join(study["title"] for study in studies),
        "config_file": plan.file,
        "config": yaml.safe_dump(plan.raw, sort_keys=False, allow_unicode=True, width=100),
        "studies": studies,
        "counts": _counts(cells),
        "problems": _problems(cells),
        "conditions": machines(plan, records),
        "assets": assets(plan),
        "data": {"table": cell_table(plan, cells), "plots": plotted},
        "details": cell_details(plan, records),
    }


def _study(plan: Plan, cells: pd.DataFrame, records: Records, name: str) -> dict[str, Any]:
    figures = [
        {
            "id": f"{study}-{figure}",
            "title": chart.title,
            "notes": [*chart.notes, *chart.clipped()],
            "panels": [panel.title + ("" if panel.series else " (no cell to show)") for panel in chart.panels],
            "legend": swatches(chart),
            "plots": plots(chart),
            "files": _files(plan, "figures", study=study, figure=figure),
        }
        for study, figure in plan.shown.figures
        if study == name
        for chart in [make_chart(plan, cells, records, study, figure)]
    ]
    return {
        "name": name,
        "title": plan.config.studies[name].title or name,
        "counts": _counts(cells[cells["study"] == name]),
        "tables": [
            {
                "table": make_table(plan, cells, study, table, records),
                "files": _files(plan, "tables", study=study, table=table),
            }
            for study, table in plan.shown.tables
            if study == name
        ],
        "figures": figures,
        "about": about(plan, name),
    }


def _files(plan: Plan, rule: str, **wildcards: str) -> list[str]:
    """List the files of a table or a figure in all their formats."""
    return [str(path) for path in plan.job(rule, **wildcards).outputs]


def _counts(cells: pd.DataFrame) -> dict[str, int]:
    """Count the distinct cells that are done, failed, skipped and missing."""
    counts = layout.statuses(cells).value_counts()
    return {word: int(counts.get(status, 0)) for status, word in STATUSES.items()}


def _problems(cells: pd.DataFrame) -> list[dict[str, str]]:
    """List every cell that lacks numbers, once, with the reasons."""
    bad = cells[cells["status"] != "ok"]
    statuses: dict[Cell, set[str]] = {}
    reasons: dict[Cell, dict[str, dict[str, None]]] = {}
    columns = zip(*(bad[name].tolist() for name in (*AXES, "status", "reason", "suite")), strict=True)
    for *axes, status, reason, suite in columns:
        cell = Cell(*axes)
        statuses.setdefault(cell, set()).add(status)
        reasons.setdefault(cell, {}).setdefault(str(reason), {})[suite] = None
    return [
        {
            "id": cell_id(cell),
            "title": str(cell),
            "status": layout.worst(present),
            "reason": "; ".join(f"{', '.join(suites)}: {reason}" for reason, suites in sorted(reasons[cell].items())),
        }
        for cell, present in statuses.items()
    ]
