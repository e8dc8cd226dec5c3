"""Stage collect: write every result of a config's studies to one table, a row per cell, suite, task and metric."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from prunebench.cell import AXES, Cell
from prunebench.names import inert
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, plan_of
from prunebench.results.current import Results
from prunebench.storage.files import write_text
from prunebench.storage.sealed import mark, read_if_whole
from prunebench.tables.escape import csv_text

COLUMNS = (
    "study", "model", "method", "allocator", "pattern", "sparsity", "calibration", "seed", "suite", "task", "metric",
    "value", "stderr", "n", "status", "reason", "achieved_sparsity", "prune_seconds", "peak_memory_mb", "spec_hash",
)  # fmt: skip


def collect(spec: str, *, cells: Path) -> None:
    """Write all rows of the plan that `spec` describes to `cells` (CSV)."""
    write_cells(plan_of(spec), cells)


def write_cells(plan: Plan, destination: Path) -> pd.DataFrame:
    """Write all rows to `destination` (CSV) and return them.

    A result that is missing, or was made from another spec than today's config and code give, gets a row that says so
    and no value: an older number never passes for a current one.
    """
    results = Results(plan)
    rows = [
        {"study": study, **{axis: getattr(cell, axis) for axis in AXES}, "suite": suite, **row}
        for study, expansion in plan.studies.items()
        for suite in expansion.all_suites
        for cell, reason in [*((cell, None) for cell in expansion.cells), *expansion.skipped]
        if suite in expansion.suites[cell]
        for row in ([{"status": "skipped", "reason": reason}] if reason else _rows(plan, cell, suite, results))
    ]
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    # The reasons are the only texts that are no names.
    safe = frame.assign(reason=frame["reason"].map(lambda reason: csv_text(inert(reason)), na_action="ignore"))
    write_text(destination, safe.to_csv(index=False, lineterminator="\n"))
    mark(destination)
    return frame


def _rows(plan: Plan, cell: Cell, suite: str, results: Results) -> Iterator[dict[str, Any]]:
    spec = plan.job("evaluate", **cell.wildcards, suite=suite).spec_hash
    pruned, evaluated = results.prune(cell), results.evaluation(cell, suite)
    shared = {"spec_hash": spec, "achieved_sparsity": pruned.get("achieved_sparsity")}
    if pruned["status"] != "missing":
        shared |= _cost(plan, cell)
    if evaluated["status"] != "ok":
        yield {**shared, "status": evaluated["status"], "reason": evaluated["reason"]}
        return
    for score in evaluated["scores"]:
        yield {**shared, "status": "ok", **{key: score[key] for key in ("task", "metric", "value", "stderr", "n")}}


def _cost(plan: Plan, cell: Cell) -> dict[str, Any]:
    files = [Path(job.output("measured").path) for job in _own_jobs(plan.job("prune", **cell.wildcards))]
    measured = [record for file in files if (record := read_if_whole(file))]
    if not measured:
        return {}
    # A resumed job measured only its last part. No time is better than a wrong one, or one of a part of the jobs.
    whole = len(measured) == len(files) and not any(job.get("resumed_at") for job in measured)
    seconds = round(sum(job["seconds"] for job in measured), 3) if whole else None
    return {"prune_seconds": seconds, "peak_memory_mb": max(job["peak_memory_mb"] for job in measured)}


def _own_jobs(job: Job) -> list[Job]:
    """List `job`, and all jobs that count as part of the cost of the cell that it makes."""
    return list(dict.fromkeys([job, *(own for other in job.upstream if other.own_cost for own in _own_jobs(other))]))
