"""Gathering everything that the report shows, from `Records` and results/cells.csv only: never an older number."""

from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from prunebench.cell import AXES, Cell
from prunebench.figures.make import make_chart
from prunebench.plan.plan import Plan
from prunebench.report.about import protocol
from prunebench.report.cells import cell_details, cell_id, cell_table
from prunebench.report.plots import plots, swatches
from prunebench.report.provenance import assets, machines
from prunebench.report.summary import summary
from prunebench.results.detail import Records
from prunebench.tables import layout
from prunebench.tables.make import make_table

STATUSES = {"ok": "done", "failed": "failed", "skipped": "skipped", "missing": "missing"}
"""The words of the report by the statuses of cells.csv."""


def gather(plan: Plan, cells: pd.DataFrame) -> dict[str, Any]:
    """Collect what the template needs: texts, tables and counts.

    The page embeds the rest for its script: `data`, `details`, an iterator of (id, details) of the cells, and
    `downloads`, the texts of the tables and figures in print by their paths, so that a page that is sent on is whole.
    """
    records = Records(plan)
    studies = [_study(plan, cells, records, name) for name in plan.studies]
    conditions = machines(plan, records)
    downloads = {path: text for study in studies for path, text in study.pop("downloads").items()}
    plotted = {figure["id"]: figure.pop("plots") for study in studies for figure in study["figures"]}
    return {
        "title": ", ".join(study["title"] for study in studies),
        "config_file": plan.file,
        "root": "../" * (len(plan.job("report").outputs[0].parts) - 1),
        "gathered": str(plan.job("collect").outputs[0]),
        "config": yaml.safe_dump(plan.raw, sort_keys=False, allow_unicode=True, width=100),
        "studies": studies,
        "counts": _counts(cells),
        "problems": _problems(cells),
        "summary": summary(plan, cells, records, conditions),
        "conditions": conditions,
        "assets": assets(plan),
        "downloads": downloads,
        "data": {"table": cell_table(plan, cells), "plots": plotted},
        "details": cell_details(plan, records),
    }


def _study(plan: Plan, cells: pd.DataFrame, records: Records, name: str) -> dict[str, Any]:
    figures: list[dict[str, Any]] = [
        {
            "id": f"{study}-{figure}",
            "title": chart.title,
            "notes": [*chart.notes, *chart.clipped()],
            "panels": [panel.title + ("" if panel.series else " (no cell to show)") for panel in chart.panels],
            "legend": swatches(chart),
            "plots": plots(chart),
            "files": _files(plan, "figures", study=study, figure=figure),
            "drawn": _drawn(plan, study=study, figure=figure),
        }
        for study, figure in plan.shown.figures
        if study == name
        for chart in [make_chart(plan, cells, records, study, figure)]
    ]
    made = {table: make_table(plan, cells, name, table, records) for study, table in plan.shown.tables if study == name}
    downloads = {
        str(path): table.render(path.suffix.removeprefix("."))
        for key, table in made.items()
        for path in plan.job("tables", study=name, table=key).outputs
    }
    return {
        "name": name,
        "downloads": downloads | {file: text for figure in figures for file, text in figure.pop("drawn").items()},
        "title": plan.config.studies[name].title or name,
        "counts": _counts(cells[cells["study"] == name]),
        "tables": [
            {
                "table": table,
                "files": _files(plan, "tables", study=name, table=key),
            }
            for key, table in made.items()
        ],
        "figures": figures,
        "about": list(protocol(plan, name)),
    }


def _files(plan: Plan, rule: str, **wildcards: str) -> list[str]:
    """List the files of a table or a figure in all their formats."""
    return [str(path) for path in plan.job(rule, **wildcards).outputs]


def _drawn(plan: Plan, **wildcards: str) -> dict[str, str]:
    """Read the figure for print, if it has been drawn since the table of all cells was gathered.

    The page makes the PNG from it: other formats than SVG would not shrink.
    """
    path = Path(plan.job("figures", **wildcards).output("svg").path)
    try:
        current = path.stat().st_mtime_ns >= Path(plan.job("collect").outputs[0]).stat().st_mtime_ns
        return {str(path): path.read_text(encoding="utf-8")} if current else {}
    except OSError:
        return {}


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
