"""Stage collect: write every result of a config's studies to one table, a row per cell, suite, task and metric."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from prunebench.cell import AXES, Cell
from prunebench.names import inert
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan, plan_of
from prunebench.results.current import Results
from prunebench.results.place import among_results
from prunebench.storage.files import write_text
from prunebench.storage.locks import in_turn
from prunebench.storage.sealed import mark, read_if_whole
from prunebench.tables.escape import csv_text

COLUMNS = (
    "study", "model", "method", "allocator", "pattern", "sparsity", "calibration", "seed", "suite", "task", "metric",
    "value", "stderr", "n", "status", "reason", "achieved_sparsity", "prune_seconds", "prune_cpu_seconds",
    "peak_memory_mb", "spec_hash",
)  # fmt: skip


class Measured(NamedTuple):
    """The part of a measured.json that counts as cost."""

    seconds: float
    cpu_seconds: float | None
    """None if the job ran on an accelerator, whose work no processor counts."""
    peak_memory_mb: float
    resumed: bool


def collect(spec: str, *, cells: Path) -> None:
    """Write all rows of the plan that `spec` describes to `cells` (CSV)."""
    plan, cells = plan_of(spec), cells.absolute()
    with among_results(plan, cells):
        write_cells(plan, cells)


def rows_of(plan: Plan) -> pd.DataFrame:
    """Make all rows from the results in the working directory.

    A result that is missing, or was made from another spec than today's config and code give, gets a row that says so
    and no value: an older number never passes for a current one.
    """
    results, measured = Results(plan), cache(_measured)
    rows = [
        {"study": study, **{axis: getattr(cell, axis) for axis in AXES}, "suite": suite, **row}
        for study, expansion in plan.studies.items()
        for suite in expansion.all_suites
        for cell, reason in [*((cell, None) for cell in expansion.cells), *expansion.skipped]
        if suite in expansion.suites[cell]
        for row in (
            [{"status": "skipped", "reason": reason}] if reason else _rows(plan, cell, suite, results, measured)
        )
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def write_cells(plan: Plan, destination: Path) -> pd.DataFrame:
    """Write all rows to `destination` (CSV) and return them."""
    frame = rows_of(plan)
    # The reasons are the only texts that are no names.
    safe = frame.assign(reason=frame["reason"].map(lambda reason: csv_text(inert(reason)), na_action="ignore"))
    # `prunebench collect` may run beside a job of Snakemake.
    with in_turn(destination, destination.name):
        write_text(destination, safe.to_csv(index=False, lineterminator="\n"))
        mark(destination)
    return frame


def _rows(
    plan: Plan, cell: Cell, suite: str, results: Results, measured: Callable[[str], Measured | None]
) -> Iterator[dict[str, Any]]:
    spec = plan.job("evaluate", **cell.wildcards, suite=suite).spec_hash
    pruned, evaluated = results.prune(cell), results.evaluation(cell, suite)
    shared = {"spec_hash": spec, "achieved_sparsity": pruned.get("achieved_sparsity")}
    if pruned["status"] != "missing":
        shared |= _cost(plan, cell, measured)
    if evaluated["status"] != "ok":
        yield {**shared, "status": evaluated["status"], "reason": evaluated["reason"]}
        return
    for score in evaluated["scores"]:
        yield {**shared, "status": "ok", **{key: score[key] for key in ("task", "metric", "value", "stderr", "n")}}


def _measured(path: str) -> Measured | None:
    """Read the cost of a job; None if the file is not there, or is damaged."""
    record = read_if_whole(Path(path))
    if record is None:
        return None
    cpu = record.get("cpu_seconds") if record["device"] == "cpu" else None
    return Measured(record["seconds"], cpu, record["peak_memory_mb"], bool(record.get("resumed_at")))


def _cost(plan: Plan, cell: Cell, measured: Callable[[str], Measured | None]) -> dict[str, Any]:
    jobs = [measured(job.output("measured").path) for job in _own_jobs(plan.job("prune", **cell.wildcards))]
    known = [job for job in jobs if job]
    if not known:
        return {}
    # A resumed job measured only its last part. No time is better than a wrong one, or one of a part of the jobs.
    whole = len(known) == len(jobs) and not any(job.resumed for job in known)
    seconds = round(sum(job.seconds for job in known), 3) if whole else None
    cpu = [job.cpu_seconds for job in known if job.cpu_seconds is not None]
    return {
        "prune_seconds": seconds,
        "prune_cpu_seconds": round(sum(cpu), 3) if whole and len(cpu) == len(known) else None,
        "peak_memory_mb": max(job.peak_memory_mb for job in known),
    }


def _own_jobs(job: Job) -> list[Job]:
    """List `job`, and all jobs that count as part of the cost of the cell that it makes."""
    return list(dict.fromkeys([job, *(own for other in job.upstream if other.own_cost for own in _own_jobs(other))]))
