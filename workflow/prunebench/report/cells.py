"""The cells of all studies: the columns and rows of the full table, and the details of each cell."""

from collections.abc import Callable, Iterator
from dataclasses import asdict
from typing import Any

import pandas as pd

from prunebench.cell import AXES, Cell
from prunebench.plan import paths
from prunebench.plan.jobs import named
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records
from prunebench.suites.metrics import declared, headlines, metric
from prunebench.tables import layout

COLUMNS = ("study", *AXES)
NAMED = {"model": "models", "method": "methods", "allocator": "allocators"}
"""The axes whose values have titles."""
LAST = 1e300
"""The sort key of a row without a number, which puts it after all rows with one."""
Entry = dict[str, Any]
"""An entry of the table: the text it shows and its sort key, as {"display": ..., "sort": ...}."""


def cell_id(cell: Cell) -> str:
    """Find the name of a cell in paths and links."""
    return paths.CELL.format(**cell.wildcards)


def expected(plan: Plan) -> Iterator[tuple[str, Cell, str | None]]:
    """Yield (study, cell, reason if it is skipped) for everything that the config asks for."""
    for study, expansion in plan.studies.items():
        yield from ((study, cell, None) for cell in expansion.cells)
        yield from ((study, cell, reason) for cell, reason in expansion.skipped)


def cell_table(plan: Plan, cells: pd.DataFrame) -> dict[str, Any]:
    """Make the columns and rows of the full table: a row per study and cell, a column per axis and headline number.

    `cells` are the rows of results/cells.csv. A column with one value for all cells is not shown.
    """
    labels = plan.shown.labels()
    scores = _headlines(cells)
    by_cell = {key: rows for key, rows in cells.groupby([*COLUMNS], sort=False)}
    rows = []
    for study, cell, _ in expected(plan):
        scored = by_cell[(study, *asdict(cell).values())]
        rows.append(
            {
                "id": cell_id(cell),
                "status": _text(layout.statuses(scored).iloc[0]),
                "study": _text(study),
                **{
                    axis: _text(labels.get(f"{NAMED[axis]}/{value}", value) if axis in NAMED else value)
                    for axis, value in asdict(cell).items()
                },
                **{key: _number(scored, *test) for key, test in scores.items()},
                "achieved": _measure(scored["achieved_sparsity"], "{:.1%}".format),
                "seconds": _measure(scored["prune_seconds"], "{:.1f}".format),
                "memory": _measure(scored["peak_memory_mb"], "{:.0f}".format),
            }
        )
    titles = {"status": "Status", **{axis: axis.capitalize() for axis in COLUMNS}}
    columns = [
        {"key": key, "title": title, "kind": "text", "shown": _varies(rows, key)} for key, title in titles.items()
    ]
    heads = {key: _head(plan, cells, *test) for key, test in scores.items()}
    heads |= {"achieved": "Zeros", "seconds": "Prune s", "memory": "Peak MB"}
    columns += [{"key": key, "title": title, "kind": "number", "shown": True} for key, title in heads.items()]
    return {"columns": columns, "rows": rows}


def _varies(rows: list[dict[str, Any]], key: str) -> bool:
    return key in ("status", "method", "sparsity") or len({row[key]["display"] for row in rows}) > 1


def _headlines(cells: pd.DataFrame) -> dict[str, tuple[str, str, str]]:
    """Find by column key the suite, task and metric of the numbers that represent a suite: its mean, or all tasks."""
    shown = cells[cells["metric"].isin(list(declared()))]
    return {
        f"{suite}/{task}/{name}": (str(suite), task, str(name))
        for (suite, name), part in shown.groupby(["suite", "metric"], sort=False)
        for task in headlines(part["task"].unique())
    }


def _head(plan: Plan, cells: pd.DataFrame, suite: str, task: str, name: str) -> str:
    labels = plan.shown.labels()
    measured = labels.get(f"corpora/{task}", labels.get(f"tasks/{task}", task))
    several = cells.loc[cells["metric"] == name, "suite"].nunique() > 1
    return f"{metric(name).title}, {measured}" + (f" ({suite})" if several else "")


def _text(value: object) -> Entry:
    return {"display": str(value), "sort": str(value)}


def _number(rows: pd.DataFrame, suite: str, task: str, name: str) -> Entry:
    """Make the entry of a score of one cell; it is empty if the cell has none."""
    scores = rows[(rows["suite"] == suite) & (rows["task"] == task) & (rows["metric"] == name)]
    return _measure(scores["value"], metric(name).text)


def _measure(values: "pd.Series[float]", show: Callable[[float], str]) -> Entry:
    values = values.dropna()
    if values.empty:
        return {"display": "", "sort": LAST}
    return {"display": show(values.iloc[0]), "sort": float(values.iloc[0])}


def cell_details(plan: Plan, records: Records) -> dict[str, Any]:
    """Collect by id the details that the panel of each cell shows."""
    suites: dict[Cell, dict[str, None]] = {}
    reasons: dict[Cell, str | None] = {}
    for study, cell, reason in expected(plan):
        suites.setdefault(cell, {}).update(dict.fromkeys(plan.studies[study].suites[cell]))
        reasons[cell] = reason
    labels = plan.shown.labels()
    return {
        cell_id(cell): {
            "title": str(cell),
            **({"skipped": reasons[cell]} if reasons[cell] else _results(records, cell, list(suites[cell]), labels)),
        }
        for cell in suites
    }


def _results(records: Records, cell: Cell, suites: list[str], labels: dict[str, str]) -> dict[str, Any]:
    pruned, pruning = records.prune(cell), named("prune", **cell.wildcards)
    kept = ("status", "reason", "achieved_sparsity", "already_zero", "prunable_weights", "inputs", "spec")
    return {
        "prune": {
            **{key: pruned[key] for key in kept if key in pruned},
            "log": str(pruning.log),
            "target": str(pruning.outputs[0]),
            "measured": records.measured(cell),
        },
        "blocks": [{key: float(f"{value:.4g}") for key, value in block.items()} for block in records.blocks(cell)],
        "evaluations": [
            {
                "suite": suite,
                "title": labels.get(f"suites/{suite}", ""),
                **_evaluation(records.evaluation(cell, suite), labels),
                "log": str(named("evaluate", **cell.wildcards, suite=suite).log),
                "measured": records.measured(cell, suite),
            }
            for suite in suites
        ],
    }


def _evaluation(record: dict[str, Any], labels: dict[str, str]) -> dict[str, Any]:
    scores = [
        {
            "task": labels.get(f"corpora/{score['task']}", labels.get(f"tasks/{score['task']}", score["task"])),
            **{key: score[key] for key in ("metric", "value", "stderr", "n")},
            "percent": metric(score["metric"]).percent,
        }
        for score in record.get("scores", [])
    ]
    return {"status": record["status"], "reason": record.get("reason"), "scores": scores}
