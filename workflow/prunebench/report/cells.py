"""The cells of all studies: the columns and rows of the full table, and the details of each cell."""

import math
from collections.abc import Callable, Iterator
from dataclasses import astuple
from functools import cache
from typing import Any

import pandas as pd

from prunebench.cell import AXES, Cell
from prunebench.plan import paths
from prunebench.plan.jobs import named
from prunebench.plan.plan import Plan
from prunebench.results.detail import Records
from prunebench.runtime.digits import rounded
from prunebench.suites.metrics import declared, headlines, metric
from prunebench.tables import layout

COLUMNS = ("study", *AXES)
MEASURED = ("achieved_sparsity", "prune_seconds", "prune_cpu_seconds", "peak_memory_mb")
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
    numbers = _numbers(cells, list(scores.values()))
    text = cache(lambda value: {"display": value, "sort": value})
    rows = []
    for study, cell, _ in expected(plan):
        number = numbers[(study, *astuple(cell))]
        axes = {axis: getattr(cell, axis) for axis in AXES}
        rows.append(
            {
                "id": cell_id(cell),
                "status": text(layout.worst(number["status"])),
                "study": text(study),
                **{
                    axis: text(str(labels.get(f"{NAMED[axis]}/{value}", value) if axis in NAMED else value))
                    for axis, value in axes.items()
                },
                **{key: _measure(number.get(test), metric(test[2]).text) for key, test in scores.items()},
                "achieved": _measure(number.get("achieved_sparsity"), "{:.1%}".format),
                "seconds": _measure(number.get("prune_seconds"), rounded),
                "cpu": _measure(number.get("prune_cpu_seconds"), rounded),
                "memory": _measure(number.get("peak_memory_mb"), "{:.0f}".format),
            }
        )
    titles = {"status": "Status", **{axis: axis.capitalize() for axis in COLUMNS}}
    columns = [
        {"key": key, "title": title, "kind": "text", "shown": _varies(rows, key)} for key, title in titles.items()
    ]
    heads = {key: _head(plan, cells, *test) for key, test in scores.items()}
    heads |= {"achieved": "Zeros", "seconds": "Prune s", "cpu": "Prune CPU s", "memory": "Peak MB"}
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
    measured = layout.measured(task, labels)
    several = cells.loc[(cells["metric"] == name) & (cells["task"] == task), "suite"].nunique() > 1
    return f"{metric(name).title}, {measured}" + (f" ({suite})" if several else "")


def _numbers(cells: pd.DataFrame, scores: list[tuple[str, str, str]]) -> dict[tuple[Any, ...], dict[Any, Any]]:
    """Find by study and cell the statuses of its rows, its first number in MEASURED, and in each of `scores`.

    One pass over the rows: to select those of each of thousands of cells takes pandas half a minute.
    """
    shown = frozenset(scores)
    numbers: dict[tuple[Any, ...], dict[Any, Any]] = {}
    columns = ("status", *MEASURED, "suite", "task", "metric", "value")
    keys = zip(*(cells[axis].tolist() for axis in COLUMNS), strict=True)
    for key, entries in zip(keys, zip(*(cells[name].tolist() for name in columns), strict=True), strict=True):
        number = numbers.setdefault(key, {"status": set()})
        status, *measured, suite, task, name, value = entries
        number["status"].add(status)
        pairs: list[tuple[Any, float]] = [*zip(MEASURED, measured, strict=True), ((suite, task, name), value)]
        for place, entry in pairs if (suite, task, name) in shown else pairs[:-1]:
            if not math.isnan(entry):
                number.setdefault(place, entry)
    return numbers


def _measure(value: float | None, show: Callable[[float], str]) -> Entry:
    if value is None:
        return {"display": "", "sort": LAST}
    return {"display": show(value), "sort": float(value)}


def cell_details(plan: Plan, records: Records) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield (id, details) for the panel of each cell."""
    suites: dict[Cell, dict[str, None]] = {}
    reasons: dict[Cell, str | None] = {}
    for study, cell, reason in expected(plan):
        suites.setdefault(cell, {}).update(dict.fromkeys(plan.studies[study].suites[cell]))
        reasons[cell] = reason
    labels = plan.shown.labels()
    for cell in suites:
        skipped = {"skipped": reasons[cell]} if reasons[cell] else None
        yield cell_id(cell), {"title": str(cell)} | (skipped or _results(records, cell, list(suites[cell]), labels))


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
            "task": layout.measured(score["task"], labels),
            **{key: score[key] for key in ("metric", "value", "stderr", "n")},
            "percent": metric(score["metric"]).percent,
            "shown": metric(score["metric"]).text(score["value"]),
        }
        for score in record.get("scores", [])
    ]
    return {"status": record["status"], "reason": record.get("reason"), "scores": scores}
