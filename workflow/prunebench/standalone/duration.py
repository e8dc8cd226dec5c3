"""Estimates how long a pruning takes on this machine, by the costs of `prunebench plan`. No torch is imported."""

from __future__ import annotations

from prunebench.cell import Cell
from prunebench.estimate.costs import START
from prunebench.estimate.devices import Device, this_machine
from prunebench.estimate.estimate import Estimate
from prunebench.plan.graph import ordered
from prunebench.plan.jobs.base import Job
from prunebench.plan.plan import Plan
from prunebench.runtime.digits import duration

MOST = 8
"""The number of cores beyond which more of them are taken to win nothing."""


def expected_seconds(plan: Plan, cell: Cell, threads: int, machine: Device | None = None) -> float:
    """Estimate the seconds that the jobs of one cell take with `threads` CPU threads, without downloads.

    `machine` is by default this one. Rates of the CPU are those of docs/performance.md, and products are taken to share
    cores evenly. If there is a GPU, its rates are assumed.
    """
    estimate = Estimate(plan, machine or this_machine())
    total = 0.0
    for job in own_jobs(plan, cell):
        cost = estimate.cost(job)
        work = estimate.seconds(cost) - START  # no process is started for a job
        total += work if cost.card else work / min(threads, MOST)
    return total


def own_jobs(plan: Plan, cell: Cell) -> list[Job]:
    """List the jobs that a pruning without a workflow runs for `cell`."""
    return [job for job in ordered([plan.job("prune", **cell.wildcards)]) if job.own_cost]


def in_words(seconds: float, threads: int) -> str:
    """Say how long a pruning is expected to take."""
    machine = this_machine()
    device = machine.title if machine.memory else f"{threads} core{'s' if threads > 1 else ''}"
    time = "less than a minute" if seconds < 60 else f"about {duration(seconds)}"
    return f"expected time: {time} on {device}, without downloads (estimated from counted operations, as by plan)"
